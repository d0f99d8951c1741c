"""The pages of events, profiles and rejected messages."""

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.template.response import TemplateResponse
from django.utils.html import format_html
from django.utils.http import urlencode
from unfold.decorators import display

from delivery.admin.filters import EventNameFilter, EventTypeFilter, SourceFilter
from delivery.admin.keyset import BodyAdmin, json_attachment, parse_integer
from delivery.admin.page_urls import PageUrlsMixin
from delivery.log import absences, body_access, detail, profiles, querysets
from delivery.log.rejections import mark_wrong_line
from delivery.models import Event, Rejection
from delivery.status.deliveries import status_chip
from delivery.transform.switches import SWITCHED_OFF
from integrations.formats.json_values import parse_json_or_text
from integrations.formatting import ago

PROFILE_PAGE_SIZE = 50
NEARBY_EVENTS = 8  # other events of the same person on an event's page


@admin.register(Event)
class EventAdmin(PageUrlsMixin, BodyAdmin):
    list_display = ("received", "event", "user", "visitor", "source", "message")
    list_display_links = ("received", "event")
    list_select_related = ("source",)
    page_template = "delivery/log/event.html"
    list_filter = (EventTypeFilter, EventNameFilter, SourceFilter)
    search_fields = ("message_id",)  # only to show the box; get_search_results() searches
    search_help_text = "Message id, user id or anonymous id"
    when_empty = "No events yet. Set a source's write key in an SDK, or send one with curl."

    def page_urls(self):
        return [
            ("user/", self.user_view, "delivery_user"),
            ("<int:pk>/raw/", self.raw_view, "delivery_event_raw"),
        ]

    def get_search_results(self, request, queryset, search_term):
        text = search_term.strip()
        return (queryset.filter(querysets.with_any_id(text)) if text else queryset), False

    @display(description="Received")
    def received(self, event):
        return ago(event.received_at)

    @display(description="Event")
    def event(self, event):
        if not event.name:
            return event.type
        return format_html('{} <span class="ps-subtle">{}</span>', event.name, event.type)

    @display(description="User")
    def user(self, event):
        return truncated_id_html(event.user_id)

    @display(description="Visitor")
    def visitor(self, event):
        return truncated_id_html(event.anonymous_id)

    @display(description="Message id")
    def message(self, event):
        return truncated_id_html(event.message_id)

    def page_context(self, request, event, *, shows_bodies, **extra):
        body = detail.get_event_body(event.pk)
        deliveries = list(
            querysets.deliveries_with_relations().filter(event=event).order_by("installation__name")
        )
        present = [each.installation_id for each in deliveries]
        person = profiles.profile_of_event(event)
        return {
            "title": event.name or event.type,
            "body": body if shows_bodies else "",
            "added_context": event.added_context if shows_bodies else "",
            "notes": detail.parse_notes(event.notes) if shows_bodies else [],
            "deliveries": [(each, status_chip(each)) for each in deliveries],
            "absences": absences.explain_absences(event, body, present),
            "switched_off": SWITCHED_OFF,
            "may_replay": request.user.has_perm("delivery.add_replay"),
            "profile": person,
            "nearby_events": nearby_events(person, event),
        }

    def raw_view(self, request, pk):
        """Answer with an event's body as it arrived, as a file."""
        self._require_view_permission(request)
        if not body_access.may_see_bodies(request.user):
            raise PermissionDenied(body_access.BODIES_HIDDEN_TEXT)
        body = detail.get_event_body(pk)
        if not body:
            raise Http404(f"There is no event {pk}, or its body has been purged.")
        return json_attachment(parse_json_or_text(body), f"event-{pk}.json")

    def user_view(self, request):
        """Show the profile of a person or visitor, found by a user id or an anonymous id."""
        self._require_view_permission(request)
        text, before = request.GET.get("id", ""), parse_integer(request.GET.get("before"))
        person = profiles.find_profile(text) if text else None
        if person is None:
            raise Http404("No stored event has this id.")
        page = person.page(limit=PROFILE_PAGE_SIZE, before=before)
        older = {"id": text, "before": page.rows[-1].pk} if page.has_older else None
        context = {
            **self.admin_site.each_context(request),
            "title": "User" if person.is_user else "Visitor",
            "profile": person,
            "page": page,
            "events": events_with_statuses(page.rows),
            "older": f"?{urlencode(older)}" if older else "",
            "scanned_events": profiles.PROFILE_SAMPLE_EVENTS,
        }
        return TemplateResponse(request, "delivery/log/profile.html", context)

    def _require_view_permission(self, request):
        if not self.has_view_permission(request):
            raise PermissionDenied


def truncated_id_html(text):
    """Return an id that is truncated to its column, with the whole id on hover."""
    return format_html('<span class="ps-id" title="{}">{}</span>', text, text) if text else "–"


def events_with_statuses(events):
    """Return events, each with its deliveries and their status chips."""
    return [
        (event, [(each, status_chip(each)) for each in deliveries])
        for event, deliveries in profiles.pair_events_with_deliveries(events)
    ]


def nearby_events(person, event):
    """Return a person's events before and after one of them, newest first."""
    if person is None:
        return []
    rows = person.events.exclude(pk=event.pk)
    newer = rows.filter(pk__gt=event.pk).order_by(person.column, "pk")[: NEARBY_EVENTS // 2]
    older = rows.filter(pk__lt=event.pk).order_by(person.column, "-pk")[: NEARBY_EVENTS // 2]
    return events_with_statuses([*reversed(newer), *older])


@admin.register(Rejection)
class RejectionAdmin(BodyAdmin):
    when_empty = "No rejected messages. Every message so far was accepted."
    list_display = ("received", "reason", "source")
    list_display_links = ("received", "reason")
    list_select_related = ("source",)
    page_template = "delivery/log/rejection.html"
    list_filter = (SourceFilter,)

    @display(description="Received")
    def received(self, rejection):
        return ago(rejection.received_at)

    def changelist_view(self, request, extra_context=None):
        context = {"title": "Rejected messages", **(extra_context or {})}
        return super().changelist_view(request, context)

    def page_context(self, request, rejection, *, shows_bodies, **extra):
        lines = mark_wrong_line(rejection.text, rejection.reason) if shows_bodies else []
        return {"title": "Rejected message", "lines": lines}
