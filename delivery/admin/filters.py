"""The filters of the log; all of them are in the address, so that a view can be kept as a link."""

from datetime import timedelta

from django.utils import timezone
from unfold.contrib.filters.admin import DropdownFilter, TextFilter

from delivery import log
from delivery.models import Delivery
from integrations.messages import TYPES
from integrations.models import Installation, Source


def chosen(queryset, name, value):
    """Return the rows that point to the object of that id; all of them when it is no id."""
    return queryset.filter(**{name: int(value)}) if value and value.isdecimal() else queryset


class InstallationFilter(DropdownFilter):
    title = "installation"
    parameter_name = "installation"

    def lookups(self, request, model_admin):
        return Installation.objects.order_by("name").values_list("pk", "name")

    def queryset(self, request, queryset):
        return chosen(queryset, "installation", self.value())


class StateFilter(DropdownFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request, model_admin):
        return Delivery.State.choices

    def queryset(self, request, queryset):
        return queryset.filter(state=self.value()) if self.value() else queryset


class EventFilter(TextFilter):
    title = "event name or type"
    parameter_name = "event"

    def queryset(self, request, queryset):
        return queryset.filter(log.named(self.value(), "event__")) if self.value() else queryset


class NameFilter(EventFilter):
    """The same, on events themselves."""

    def queryset(self, request, queryset):
        return queryset.filter(log.named(self.value())) if self.value() else queryset


class TypeFilter(DropdownFilter):
    title = "type"
    parameter_name = "type"

    def lookups(self, request, model_admin):
        return [(each, each) for each in TYPES]

    def queryset(self, request, queryset):
        return queryset.filter(type=self.value()) if self.value() else queryset


class SourceFilter(DropdownFilter):
    title = "source"
    parameter_name = "source"

    def lookups(self, request, model_admin):
        return Source.objects.order_by("name").values_list("pk", "name")

    def queryset(self, request, queryset):
        return chosen(queryset, "source", self.value())


class ReceivedFilter(DropdownFilter):
    title = "time received"
    parameter_name = "received"
    spans = {
        "15m": ("Last 15 minutes", timedelta(minutes=15)),
        "1h": ("Last hour", timedelta(hours=1)),
        "24h": ("Last 24 hours", timedelta(days=1)),
        "7d": ("Last 7 days", timedelta(days=7)),
    }

    def lookups(self, request, model_admin):
        return [(key, title) for key, (title, _) in self.spans.items()]

    def queryset(self, request, queryset):
        if self.value() not in self.spans:
            return queryset
        return log.received(queryset, since=timezone.now() - self.spans[self.value()][1])
