"""Events, the people in them, and the messages that were refused."""

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.html import format_html
from django.utils.http import urlencode
from unfold.decorators import display

from delivery.admin.filters import NameFilter, SourceFilter, TypeFilter
from delivery.admin.keyset import BodyAdmin, file_of, number
from delivery.log import absences, body_access, detail, profiles, querysets
from delivery.log.detail import parsed
from delivery.log.rejections import marked
from delivery.models import Event, Rejection
from delivery.status.deliveries import chip
from integrations.formatting import ago

ROWS = 50
OTHERS = 8  # events of the same person on an event's page


@admin.register(Event)
class EventAdmin(BodyAdmin):
    list_display = ("received", "event", "user", "visitor", "source", "message")
    list_display_links = ("received", "event")
    list_select_related = ("source",)
    page_template = "delivery/log/event.html"
    list_filter = (TypeFilter, NameFilter, SourceFilter)
    search_fields = ("message_id",)  # only to have the box; get_search_results() searches
    search_help_text = "Message id, user id or anonymous id"
    when_empty = "No events yet. Set a source's write key in an SDK, or send one with curl."

    def get_urls(self):
        def mine(view):
            return self.admin_site.admin_view(view)

        return [
            path("user/", mine(self.user_view), name="delivery_user"),
            path("<int:pk>/raw/", mine(self.raw_view), name="delivery_event_raw"),
            *super().get_urls(),
        ]

    def get_search_results(self, request, queryset, search_term):
        text = search_term.strip()
        return (queryset.filter(querysets.of(text)) if text else queryset), False

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
        return short(event.user_id)

    @display(description="Visitor")
    def visitor(self, event):
        return short(event.anonymous_id)

    @display(description="Message id")
    def message(self, event):
        return short(event.message_id)

    def page_context(self, request, event, *, shows_bodies, **known):
        body = detail.body_of(event.pk)
        deliveries = list(querysets.deliveries().filter(event=event).order_by("installation__name"))
        present = [each.installation_id for each in deliveries]
        person = profiles.of_event(event)
        return {
            "title": event.name or event.type,
            "body": body if shows_bodies else "",
            "added_context": event.added_context if shows_bodies else "",
            "notes": detail.notes(event.notes) if shows_bodies else [],
            "deliveries": [(each, chip(each)) for each in deliveries],
            "absences": absences.absences(event, body, present),
            "may_replay": request.user.has_perm("delivery.add_replay"),
            "person": person,
            "others": beside(person, event),
        }

    def raw_view(self, request, pk):
        """Answer with an event's body as a file, as it came."""
        self._insist(request)
        if not body_access.shown_to(request.user):
            raise PermissionDenied(body_access.HIDDEN)
        body = detail.body_of(pk)
        if not body:
            raise Http404(f"There is no event {pk}, or its body is not kept any more.")
        return file_of(parsed(body), f"event-{pk}.json")

    def user_view(self, request):
        """Show one person or visitor, by an id of either kind."""
        self._insist(request)
        text, before = request.GET.get("id", ""), number(request.GET.get("before"))
        person = profiles.person(text) if text else None
        if person is None:
            raise Http404("No event that is kept has this id.")
        page = person.page(limit=ROWS, before=before)
        older = {"id": text, "before": page.rows[-1].pk} if page.has_older else None
        context = {
            **self.admin_site.each_context(request),
            "title": "User" if person.is_user else "Visitor",
            "person": person,
            "page": page,
            "events": shown(page.rows),
            "older": f"?{urlencode(older)}" if older else "",
            "looked_at": profiles.LOOKED_AT,
        }
        return TemplateResponse(request, "delivery/log/profile.html", context)

    def _insist(self, request):
        if not self.has_view_permission(request):
            raise PermissionDenied


def short(text):
    """Return an id that is cut where its column ends; the whole one on hover."""
    return format_html('<span class="ps-id" title="{}">{}</span>', text, text) if text else "–"


def shown(events):
    """Return events, each with its deliveries and their chips."""
    return [
        (event, [(each, chip(each)) for each in deliveries])
        for event, deliveries in profiles.with_deliveries(events)
    ]


def beside(person, event):
    """Return a person's events around one of them, newest first."""
    if person is None:
        return []
    rows = person.events.exclude(pk=event.pk)
    newer = rows.filter(pk__gt=event.pk).order_by(person.column, "pk")[: OTHERS // 2]
    older = rows.filter(pk__lt=event.pk).order_by(person.column, "-pk")[: OTHERS // 2]
    return shown([*reversed(newer), *older])


@admin.register(Rejection)
class RejectionAdmin(BodyAdmin):
    when_empty = "Nothing was refused: every message that came in was understood."
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

    def page_context(self, request, rejection, *, shows_bodies, **known):
        lines = marked(rejection.text, rejection.reason) if shows_bodies else []
        return {"title": "Rejected message", "lines": lines}
