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
from delivery.actions.apply_to_search import Done, NotOne
from delivery.actions.resolve import BadNote
from delivery.admin.log.explorer import explorer
from delivery.models import Delivery

MANY = 10_000  # deliveries, from which on the installation's name has to be typed


@dataclass(frozen=True, slots=True)
class Verb:
    """Something to be done.

    which   what it is done to, in words, and `state` as a state
    found   a search, and the time → the deliveries that it is for
    act     deliveries, note, time, and the search → how many it was done to
    """

    title: str
    which: str
    state: str
    lead: str
    done: str
    found: Callable
    act: Callable
    takes_note: bool = False


def _resolve(rows, note, now, user, search):
    return resolve.resolve(rows, note, now, search=search)


def _cancel(rows, note, now, user, search):
    return actions_deliveries.cancel(rows, f"Cancelled by {user}.", now, search=search)


VERBS = {
    "resolve": Verb(
        "Mark resolved", "failed", Delivery.State.FAILED,
        "They stay failed and are not sent, and what needs a person names them no more. "
        "To deliver one again undoes it.",
        "marked as resolved.", apply_to_search.unresolved, _resolve, takes_note=True,
    ),
    "cancel": Verb(
        "Cancel queued deliveries", "queued", Delivery.State.QUEUED,
        "They are not sent. Deliver again sends what is cancelled.",
        "cancelled. Deliver again sends what is cancelled.", apply_to_search.queued, _cancel,
    ),
}  # fmt: skip


class Ticked:
    """Deliveries that were ticked one by one."""

    name = search = ""

    def __init__(self, rows):
        self.rows = rows

    @cached_property
    def counted(self):
        return Done(self.rows.count(), True)

    def do(self, act):
        return Done(act(self.rows), True)


class Meant:
    """All deliveries of one installation that a search means."""

    def __init__(self, scope, search):
        self.scope, self.search = scope, str(search)
        [self.installation] = search.values("installation")

    @cached_property
    def counted(self):
        return apply_to_search.count(self.scope)

    @property
    def name(self):
        """What has to be typed before it is done, or ""."""
        are_many = not self.counted.is_whole or self.counted.count > MANY
        return self.installation if are_many else ""

    def do(self, act):
        return apply_to_search.to_all(self.scope, act)


def page(request, verb, rows):
    """Show how many there are, and do it when that is confirmed.

    rows  those that are ticked, or None for all that the search `q` means
    """
    if not request.user.has_perm("delivery.change_delivery"):
        raise PermissionDenied
    if verb not in VERBS:
        raise Http404(f"Nothing is called {verb!r}.")
    now, given = timezone.now(), request.POST if request.method == "POST" else request.GET
    view, verb = explorer(given, now), VERBS[verb]
    error, found = "", None
    try:
        if rows is None:
            found = Meant(verb.found(view.search, now), view.search)
        else:
            found = Ticked(rows.filter(state=verb.state))
        if "go" in request.POST:
            return _done(request, verb, found, now)
    except (BadNote, NotOne) as problem:
        error = str(problem)
    return _before(request, verb, found, view, error)


def _done(request, verb, found, now):
    note = request.POST.get("note", "")
    if verb.takes_note:
        resolve.checked(note)
    if found.name and request.POST.get("typed") != found.name:
        raise NotOne(f"Type {found.name} exactly as it is written.")
    done = found.do(lambda rows: verb.act(rows, note, now, request.user, found.search))
    deliveries = "1 delivery is" if done.count == 1 else f"{done.count:,} deliveries are"
    more = "" if done.is_whole else " There are more: do the same again to go on with them."
    messages.success(request, f"{deliveries} {verb.done}{more}")
    return redirect(log_as_it_was(request.POST))


def _before(request, verb, found, view, error):
    context = {
        **admin.site.each_context(request),
        "title": verb.title,
        "verb": verb,
        "found": found,
        "ids": request.POST.getlist("id"),
        "search": view.search,
        "error": error,
        "longest": resolve.LONGEST,
        "back_url": log_as_it_was(request.POST or request.GET),
    }
    return TemplateResponse(request, "delivery/log/confirm_bulk_action.html", context)


def log_as_it_was(given):
    back = urlencode({"q": given["q"]}) if given.get("q") else ""
    return f"{reverse('admin:delivery_delivery_changelist')}?{back}"
