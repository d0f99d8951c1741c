"""What is done to many deliveries at once, with a page before it: those that are ticked, or all of
one installation that a search means."""

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

CONFIRM_BY_NAME_ABOVE = 10_000  # deliveries, from which on the installation's name has to be typed


@dataclass(frozen=True, slots=True)
class BulkAction:
    """Something to be done.

    state_label   what it is done to, in words, and `state` as a state
    select   a search, and the time → the deliveries that it is for
    apply     deliveries, note, time, and the search → how many it was done to
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
        "They stay failed and are not sent, and what needs a person names them no more. "
        "To deliver one again undoes it.",
        "marked as resolved.", apply_to_search.select_unresolved, _resolve, takes_note=True,
    ),
    "cancel": BulkAction(
        "Cancel queued deliveries", "queued", Delivery.State.QUEUED,
        "They are not sent. Deliver again sends what is cancelled.",
        "cancelled. Deliver again sends what is cancelled.", apply_to_search.select_queued, _cancel,
    ),
}  # fmt: skip


class CheckedSelection:
    """Deliveries that were ticked one by one."""

    name_to_type = search = ""

    def __init__(self, rows):
        self.rows = rows

    @cached_property
    def total(self):
        return BulkResult(self.rows.count(), True)

    def apply(self, act):
        return BulkResult(act(self.rows), True)


class SearchSelection:
    """All deliveries of one installation that a search means."""

    def __init__(self, query, search):
        self.query, self.search = query, str(search)
        [self.installation] = search.values("installation")

    @cached_property
    def total(self):
        return apply_to_search.count_matching(self.query)

    @property
    def name_to_type(self):
        """What has to be typed before it is done, or ""."""
        are_many = not self.total.is_complete or self.total.count > CONFIRM_BY_NAME_ABOVE
        return self.installation if are_many else ""

    def apply(self, act):
        return apply_to_search.apply_to_all(self.query, act)


def bulk_action_view(request, action, rows):
    """Show how many there are, and do it when that is confirmed.

    rows  those that are ticked, or None for all that the search `q` means
    """
    if not request.user.has_perm("delivery.change_delivery"):
        raise PermissionDenied
    if action not in BULK_ACTIONS:
        raise Http404(f"Nothing is called {action!r}.")
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
        raise AmbiguousSelection(f"Type {selection.name_to_type} exactly as it is written.")
    done = selection.apply(
        lambda rows: action.apply(rows, note, now, request.user, selection.search)
    )
    deliveries = "1 delivery is" if done.count == 1 else f"{done.count:,} deliveries are"
    more = "" if done.is_complete else " There are more: do the same again to go on with them."
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
