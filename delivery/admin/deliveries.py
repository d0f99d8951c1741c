"""Deliveries and attempts: the log."""

from django.contrib import admin, messages
from django.http import HttpResponseNotAllowed
from django.shortcuts import redirect
from django.urls import path
from django.utils import timezone
from django.utils.html import format_html
from unfold.decorators import action, display

from delivery import controls, log
from delivery.admin.filters import EventFilter, InstallationFilter, ReceivedFilter, StateFilter
from delivery.admin.keyset import AFTER, BEFORE, LogAdmin
from delivery.models import Attempt, AttemptBody, Delivery
from delivery.state import chip, delivery_in_words, trouble_of
from integrations.templatetags.penstock import ago
from integrations.templatetags.penstock import chip as drawn


def quick_states(params):
    """Return (title, address, active) for each state, keeping the other filters."""
    rest = params.copy()
    for name in ("state", BEFORE, AFTER):
        rest.pop(name, None)
    chosen = params.get("state", "")
    for value, title in [("", "All"), *Delivery.State.choices]:
        link = rest.copy()
        link.update({"state": value} if value else {})
        yield title, f"?{link.urlencode()}", value == chosen


@admin.register(Delivery)
class DeliveryAdmin(LogAdmin):
    """Where is it, what was sent, what did the vendor say, what should be done now?"""

    list_display = (
        "received", "state_chip", "event_name", "user", "installation_name", "attempts_made",
        "last_answer", "latency",
    )  # fmt: skip
    list_display_links = ("received", "event_name")
    list_filter = (InstallationFilter, StateFilter, EventFilter, ReceivedFilter)
    list_before_template = "delivery/deliveries_before.html"
    page_template = "delivery/delivery.html"
    search_fields = ("event__message_id",)  # only to have the box; get_search_results() searches
    search_help_text = "Message id, user id or anonymous id"
    actions = ("deliver_again",)
    when_empty = "No deliveries yet. They appear when an event comes in that an installation wants."

    def get_queryset(self, request):
        return log.deliveries()

    def get_search_results(self, request, queryset, search_term):
        text = search_term.strip()
        return (log.about(queryset, log.of(text)) if text else queryset), False

    def changelist_view(self, request, extra_context=None):
        context = {"title": "Deliveries", "quick": quick_states(request.GET)}
        return super().changelist_view(request, {**context, **(extra_context or {})})

    # --- columns ---

    @display(description="Received")
    def received(self, delivery):
        return ago(delivery.event.received_at)

    @display(description="State")
    def state_chip(self, delivery):
        return drawn(chip(delivery))

    @display(description="Event")
    def event_name(self, delivery):
        event = delivery.event
        if not event.name:
            return event.type
        return format_html('{} <span class="ps-subtle">{}</span>', event.name, event.type)

    @display(description="User")
    def user(self, delivery):
        event = delivery.event
        known = "" if event.user_id else "ps-subtle"
        person = event.user_id or event.anonymous_id
        return format_html('<span class="ps-id {}" title="{}">{}</span>', known, person, person)

    @display(description="Installation")
    def installation_name(self, delivery):
        return delivery.installation.name

    @display(description="Attempts")
    def attempts_made(self, delivery):
        return delivery.attempts

    @display(description="Last answer")
    def last_answer(self, delivery):
        attempt = delivery.last_attempt
        if attempt is None:
            return delivery.error or "–"
        answer = f"HTTP {attempt.status}" if attempt.status else "No answer"
        return format_html('{} <span class="ps-subtle">{}</span>', answer, delivery.error)

    @display(description="Latency")
    def latency(self, delivery):
        attempt = delivery.last_attempt
        return f"{attempt.duration_ms:,} ms" if attempt else "–"

    # --- one delivery ---

    def get_urls(self):
        again = self.admin_site.admin_view(self.again_view)
        mine = [path("<int:pk>/deliver-again/", again, name="delivery_delivery_again")]
        return mine + super().get_urls()

    def page_context(self, request, found):
        story, may = log.story(found.pk), self.has_deliver_again_permission(request)
        delivery = story.delivery
        return {
            "title": f"{delivery.event.name or delivery.event.type} → {delivery.installation}",
            "story": story,
            "delivery": delivery,
            "words": delivery_in_words(delivery, timezone.now()),
            "trouble": trouble_of(delivery),
            "can_deliver_again": may and delivery.state != Delivery.State.QUEUED,
        }

    # --- deliver again ---

    def has_deliver_again_permission(self, request):
        return request.user.has_perm("delivery.change_delivery")

    @action(description="Deliver again", permissions=["deliver_again"])
    def deliver_again(self, request, queryset):
        messages.success(request, controls.deliver_again(queryset, timezone.now()).in_words())

    def again_view(self, request, pk):
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        self.deliver_again(request, Delivery.objects.filter(pk=pk))
        return redirect("admin:delivery_delivery_change", pk)


@admin.register(Attempt)
class AttemptAdmin(LogAdmin):
    """One exchange, whole: reached from the deliveries that it carried."""

    list_display = ("started_at", "installation", "method", "url", "status", "outcome", "items")
    list_select_related = ("installation",)
    page_template = "delivery/attempt.html"

    def page_context(self, request, found):
        full = AttemptBody.objects.filter(pk=found.pk).first()
        body = full.request_body if full else ""
        return {
            "full": full,
            "body": body[: log.SHOWN],
            "is_cut": len(body) > log.SHOWN,
            "shown": log.SHOWN,
        }
