"""Bulk actions on the selected deliveries or all matches of a search, after a confirmation page."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode

from delivery.actions import apply_to_search, resolve
from delivery.actions import deliveries as actions_deliveries
from delivery.actions.apply_to_search import AmbiguousSelection, BulkResult
from delivery.actions.resolve import InvalidNote
from delivery.admin.log.explorer import build_explorer
from delivery.models import Delivery
from integrations.humanize import format_count

CONFIRM_BY_NAME_ABOVE = 10_000  # deliveries; for more, the installation's name must be typed


@dataclass(frozen=True, slots=True)
class BulkAction:
    """An action on many deliveries.

    state_label  the state of the deliveries that it applies to, as text; `state` is the value
    select       (search, time) → query of the deliveries that it applies to
    apply        (deliveries, note, time, user, search) → number of deliveries changed
    """

    title: str
    state_label: str
    state: str
    lead: str
    outcome: str
    select: Callable
    apply: Callable
    takes_note: bool = False


def _resolve(rows, note, now, user, search):
    return resolve.resolve_deliveries(rows, note, now, search=search)


def _cancel(rows, note, now, user, search):
    return actions_deliveries.cancel_deliveries(rows, f"Cancelled by {user}.", now, search=search)


BULK_ACTIONS = {
    "resolve": BulkAction(
        "Mark resolved", "failed", Delivery.State.FAILED,
        "They stay failed and are not sent, and the home page no longer lists them. "
        "Delivering one again undoes this.",
        "marked as resolved.", apply_to_search.select_unresolved, _resolve, takes_note=True,
    ),
    "cancel": BulkAction(
        "Cancel queued deliveries", "queued", Delivery.State.QUEUED,
        "They are not sent. To send one after all, deliver it again.",
        "cancelled. To send after all, deliver again.", apply_to_search.select_queued, _cancel,
    ),
}  # fmt: skip


class CheckedSelection:
    """Deliveries that were selected one by one."""

    name_to_type = search = ""

    def __init__(self, rows):
        self.rows = rows

    @cached_property
    def total(self):
        return BulkResult(self.rows.count(), True)

    def apply(self, act):
        return BulkResult(act(self.rows), True)


class SearchSelection:
    """All deliveries of one installation that match a search."""

    def __init__(self, query, search):
        self.query, self.search = query, str(search)
        [self.installation] = search.values("installation")

    @cached_property
    def total(self):
        return apply_to_search.count_matching(self.query)

    @property
    def name_to_type(self):
        """The text that must be typed to confirm, or ""."""
        are_many = not self.total.is_complete or self.total.count > CONFIRM_BY_NAME_ABOVE
        return self.installation if are_many else ""

    def apply(self, act):
        return apply_to_search.apply_to_all(self.query, act)


def bulk_action_view(request, action, rows):
    """Show how many deliveries are affected, and apply the action once that is confirmed.

    rows  the selected deliveries, or None for all matches of the search `q`
    """
    if not request.user.has_perm("delivery.change_delivery"):
        raise PermissionDenied
    if action not in BULK_ACTIONS:
        raise Http404(f"There is no bulk action {action!r}.")
    now, params = timezone.now(), request.POST if request.method == "POST" else request.GET
    view, action = build_explorer(params, now), BULK_ACTIONS[action]
    error, selection = "", None
    try:
        if rows is None:
            selection = SearchSelection(action.select(view.search, now), view.search)
        else:
            selection = CheckedSelection(rows.filter(state=action.state))
        if "go" in request.POST:
            return _perform(request, action, selection, now)
    except (InvalidNote, AmbiguousSelection) as problem:
        error = str(problem)
    return _render_confirmation(request, action, selection, view, error)


def _perform(request, action, selection, now):
    note = request.POST.get("note", "")
    if action.takes_note:
        resolve.clean_note(note)
    if selection.name_to_type and request.POST.get("typed") != selection.name_to_type:
        raise AmbiguousSelection(f"Type {selection.name_to_type} exactly as shown.")
    done = selection.apply(
        lambda rows: action.apply(rows, note, now, request.user, selection.search)
    )
    deliveries = format_count(done.count, "delivery is", "deliveries are")
    more = "" if done.is_complete else " There are more. Repeat the action to continue."
    messages.success(request, f"{deliveries} {action.outcome}{more}")
    return redirect(filtered_log_url(request.POST))


def _render_confirmation(request, action, selection, view, error):
    context = {
        **admin.site.each_context(request),
        "title": action.title,
        "action": action,
        "selection": selection,
        "ids": request.POST.getlist("id"),
        "search": view.search,
        "error": error,
        "note_max_length": resolve.NOTE_MAX_LENGTH,
        "back_url": filtered_log_url(request.POST or request.GET),
    }
    return TemplateResponse(request, "delivery/log/confirm_bulk_action.html", context)


def filtered_log_url(params):
    back = urlencode({"q": params["q"]}) if params.get("q") else ""
    return f"{reverse('admin:delivery_delivery_changelist')}?{back}"
