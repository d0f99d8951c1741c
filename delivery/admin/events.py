"""Events, and the messages that were refused."""

from django.contrib import admin
from unfold.decorators import display

from delivery import log
from delivery.admin.filters import NameFilter, SourceFilter, TypeFilter
from delivery.admin.keyset import LogAdmin
from delivery.models import Event, EventBody, Rejection
from delivery.state import chip
from integrations.templatetags.penstock import ago
from integrations.templatetags.penstock import chip as drawn


@admin.register(Event)
class EventAdmin(LogAdmin):
    list_display = ("received", "type", "name", "user_id", "anonymous_id", "source", "message_id")
    list_display_links = ("received", "type", "name")
    list_select_related = ("source",)
    page_template = "delivery/event.html"
    list_filter = (TypeFilter, NameFilter, SourceFilter)
    search_fields = ("message_id",)  # only to have the box; get_search_results() searches
    search_help_text = "Message id, user id or anonymous id"
    when_empty = "No events yet. Set a source's write key in an SDK, or send one with curl."

    def get_search_results(self, request, queryset, search_term):
        text = search_term.strip()
        return (queryset.filter(log.of(text)) if text else queryset), False

    @display(description="Received")
    def received(self, event):
        return ago(event.received_at)

    def page_context(self, request, event):
        body = EventBody.objects.filter(pk=event.pk).values_list("text", flat=True).first() or ""
        deliveries = list(log.deliveries().filter(event=event).order_by("installation__name"))
        present = [each.installation_id for each in deliveries]
        return {
            "body": body,
            "notes": log.notes(event.notes),
            "deliveries": [(each, drawn(chip(each))) for each in deliveries],
            "absences": log.absences(event, body, present),
        }


@admin.register(Rejection)
class RejectionAdmin(LogAdmin):
    when_empty = "Nothing was refused: every message that came in was understood."
    list_display = ("received", "source", "reason")
    list_select_related = ("source",)
    page_template = "delivery/rejection.html"
    list_filter = (SourceFilter,)

    @display(description="Received")
    def received(self, rejection):
        return ago(rejection.received_at)
