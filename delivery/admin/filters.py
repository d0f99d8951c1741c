"""Filters of the log's lists. They are part of the URL, so a filtered list can be bookmarked."""

from unfold.contrib.filters.admin import DropdownFilter, TextFilter

from delivery.log import querysets
from integrations.messages import MESSAGE_TYPES
from integrations.models import Source


def filter_by_id(queryset, name, value):
    """Return the rows that refer to the object with that id; all rows if it is not an id."""
    return queryset.filter(**{name: int(value)}) if value and value.isdecimal() else queryset


class EventNameFilter(TextFilter):
    title = "event name or type"
    parameter_name = "event"

    def queryset(self, request, queryset):
        return (
            queryset.filter(querysets.with_event_name(self.value())) if self.value() else queryset
        )


class EventTypeFilter(DropdownFilter):
    title = "type"
    parameter_name = "type"

    def lookups(self, request, model_admin):
        return [(each, each) for each in MESSAGE_TYPES]

    def queryset(self, request, queryset):
        return queryset.filter(type=self.value()) if self.value() else queryset


class SourceFilter(DropdownFilter):
    title = "source"
    parameter_name = "source"

    def lookups(self, request, model_admin):
        return Source.objects.order_by("name").values_list("pk", "name")

    def queryset(self, request, queryset):
        return filter_by_id(queryset, "source", self.value())
