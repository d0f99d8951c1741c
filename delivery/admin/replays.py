"""The pages of replays and backfills: list, progress, controls, and the form for a new one."""

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpResponseNotAllowed
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.decorators import display

from delivery.admin.keyset import LogAdmin
from delivery.admin.log.bulk_actions import CONFIRM_BY_NAME_ABOVE
from delivery.admin.page_urls import PageUrlsMixin
from delivery.admin.replay_form import ReplayAdminForm
from delivery.models import Replay
from delivery.replay import estimate, lifecycle
from delivery.replay.form import BLUEPRINT_CHOICES, RESOLVED_CHOICES
from delivery.replay.lifecycle import InvalidReplayState, ReplayAlreadyRunning
from delivery.replay.selection import ReplayKind, selection_from_json
from delivery.status.replays import describe_replay
from integrations.formatting import ago, chip
from integrations.humanize import format_duration

REPLAY_CONTROLS = {
    "pause": (lifecycle.pause_replay, "is paused. Resume it to queue more deliveries."),
    "resume": (lifecycle.resume_replay, "is resumed."),
    "cancel": (lifecycle.cancel_replay, "is cancelled."),
}


@admin.register(Replay)
class ReplayAdmin(PageUrlsMixin, LogAdmin):
    list_display = ("replay", "state_chip", "installation", "share", "queued", "by", "started")
    list_display_links = ("replay",)
    list_select_related = ("installation", "created_by")
    list_before_template = "delivery/replays/_list_toolbar.html"
    page_template = "delivery/replays/replay.html"
    when_empty = "No replays yet. Deliver failures again, or backfill a new installation."
    when_empty_link = "admin:delivery_replay_new"
    when_empty_label = "New replay"

    def changelist_view(self, request, extra_context=None):
        context = {"may_replay": may_replay(request)}
        return super().changelist_view(request, {**context, **(extra_context or {})})

    @display(description="Replay")
    def replay(self, replay):
        return str(replay)

    @display(description="State")
    def state_chip(self, replay):
        return chip(describe_replay(replay))

    @display(description="Progress")
    def share(self, replay):
        return f"{replay.progress:.0%}"

    @display(description="Started by")
    def by(self, replay):
        return replay.created_by or "–"

    @display(description="Started")
    def started(self, replay):
        return ago(replay.created_at)

    def page_urls(self):
        return [
            ("new/", self.new_view, "delivery_replay_new"),
            ("<int:pk>/turn/<str:turn>/", self.turn_view, "delivery_replay_turn"),
        ]

    def page_context(self, request, replay):
        return {
            "title": str(replay),
            "status": describe_replay(replay),
            "filters": describe_replay_filters(replay),
            "blueprint_choice": describe_blueprint_choice(replay),
            "percent": int(replay.progress * 100),
            "controls": available_controls(replay) if may_replay(request) else [],
        }

    def turn_view(self, request, pk, turn):
        if request.method != "POST" or turn not in REPLAY_CONTROLS:
            return HttpResponseNotAllowed(["POST"])
        require_replay_permission(request)
        replay = get_object_or_404(Replay, pk=pk)
        act, outcome = REPLAY_CONTROLS[turn]
        try:
            act(replay)
            messages.success(request, f"{replay} {outcome}")
        except InvalidReplayState as error:
            messages.error(request, str(error))
        return redirect("admin:delivery_replay_change", pk)

    def new_view(self, request):
        require_replay_permission(request)
        form = ReplayAdminForm(request.POST or None, initial=replay_form_initial(request.GET))
        replay_estimate, needs_confirmation = None, False
        if request.method == "POST" and form.is_valid():
            selection = (form.chosen_kind, form.cleaned_data["installation"], form.selection())
            replay_estimate = estimate.estimate_replay(*selection, rate=form.cleaned_data["rate"])
            is_certain = replay_estimate.exact and replay_estimate.count <= CONFIRM_BY_NAME_ABOVE
            typed = request.POST.get("typed", "") == form.cleaned_data["installation"].name
            if "preview" not in request.POST and (is_certain or typed):
                return self._start(request, form, selection)
            needs_confirmation = "preview" not in request.POST
        context = {
            **self.admin_site.each_context(request),
            "title": "New replay",
            "form": form,
            "replay_estimate": replay_estimate,
            "needs_confirmation": needs_confirmation,
            "estimated_time": format_duration(replay_estimate.seconds)
            if replay_estimate and replay_estimate.seconds
            else "",
            "back_url": reverse("admin:delivery_replay_changelist"),
        }
        return TemplateResponse(request, "delivery/replays/new.html", context)

    def _start(self, request, form, selection):
        try:
            replay = lifecycle.start_replay(
                *selection, rate=form.cleaned_data["rate"], by=request.user
            )
        except ReplayAlreadyRunning as error:
            messages.error(request, str(error))
            return redirect("admin:delivery_replay_changelist")
        messages.success(request, f"{replay} has started.")
        return redirect("admin:delivery_replay_change", replay.pk)


def replay_form_initial(params):
    """Return the initial values from the URL: the log links here with its own filter."""
    values = {name: params[name] for name in params if name in ReplayAdminForm.base_fields}
    return {**values, **({"states": params.getlist("states")} if "states" in params else {})}


def may_replay(request):
    return request.user.has_perm("delivery.add_replay")


def require_replay_permission(request):
    if not may_replay(request):
        raise PermissionDenied


def available_controls(replay):
    """Return (name, title, icon) of each control that applies in the replay's state."""
    turns = {
        Replay.State.RUNNING: [("pause", "Pause", "pause"), ("cancel", "Cancel", "close")],
        Replay.State.PAUSED: [("resume", "Resume", "play_arrow"), ("cancel", "Cancel", "close")],
    }
    return turns.get(replay.state, [])


def describe_blueprint_choice(replay):
    """Return the label of the blueprint that a replay uses, or "" for a backfill."""
    if replay.kind == ReplayKind.BACKFILL:
        return ""
    return dict(BLUEPRINT_CHOICES)[selection_from_json(replay.wanted).blueprint]


def describe_replay_filters(replay):
    """Return (label, value) of each filter of a replay."""
    wanted, fields = selection_from_json(replay.wanted), ReplayAdminForm.base_fields
    values = {name: getattr(wanted, name) for name in fields if hasattr(wanted, name)}
    values["states"] = ", ".join(wanted.states) if replay.kind == ReplayKind.REPLAY else ""
    of_failed = replay.kind == ReplayKind.REPLAY and "failed" in wanted.states
    values["resolved"] = dict(RESOLVED_CHOICES)[wanted.resolved] if of_failed else ""
    values["blueprint"] = ""  # the page shows it separately
    values["source"] = wanted.source and fields["source"].queryset.filter(pk=wanted.source).first()
    labels = {name: field.label or name.capitalize() for name, field in fields.items()}
    return [(labels[name], value) for name, value in values.items() if value]
