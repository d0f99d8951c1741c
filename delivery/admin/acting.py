"""What is done to many deliveries at once, with a page before it: those that are ticked, or all of
one installation that a search means."""

from collections.abc import Callable
from dataclasses import dataclass

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode

from delivery import controls, matching, resolving
from delivery.admin.explorer import explorer
from delivery.matching import NotOne
from delivery.models import Delivery
from delivery.resolving import BadNote

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
    return resolving.resolve(rows, note, now, search=search)


def _cancel(rows, note, now, user, search):
    return controls.cancel(rows, f"Cancelled by {user}.", now, search=search)


VERBS = {
    "resolve": Verb(
        "Mark resolved", "failed", Delivery.State.FAILED,
        "They stay failed and are not sent, and what needs a person names them no more. "
        "To deliver one again undoes it.",
        "marked as resolved.", matching.unresolved, _resolve, takes_note=True,
    ),
    "cancel": Verb(
        "Cancel queued deliveries", "queued", Delivery.State.QUEUED,
        "They are not sent. Deliver again sends what is cancelled.",
        "cancelled. Deliver again sends what is cancelled.", matching.queued, _cancel,
    ),
}  # fmt: skip


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
        found = verb.found(view.search, now) if rows is None else rows.filter(state=verb.state)
        if "go" in request.POST:
            return _done(request, verb, found, view, now)
    except (BadNote, NotOne) as problem:
        error = str(problem)
    return _before(request, verb, found, view, error)


def _done(request, verb, found, view, now):
    note, search = request.POST.get("note", ""), str(view.search)
    if verb.takes_note:
        resolving.checked(note)

    def act(rows):
        return verb.act(rows, note, now, request.user, "" if is_ticked else search)

    is_ticked = not isinstance(found, matching.Scope)
    if not is_ticked and _must_type(matching.count(found)):
        name = view.search.values("installation")[0]
        if request.POST.get("typed") != name:
            raise NotOne(f"Type {name} exactly as it is written.")
    done = matching.Done(act(found), True) if is_ticked else matching.to_all(found, act)
    deliveries = "1 delivery is" if done.count == 1 else f"{done.count:,} deliveries are"
    more = "" if done.is_whole else " There are more: do the same again to go on with them."
    messages.success(request, f"{deliveries} {verb.done}{more}")
    return redirect(log_as_it_was(request.POST))


def _must_type(counted):
    return not counted.is_whole or counted.count > MANY


def _before(request, verb, found, view, error):
    is_ticked = found is not None and not isinstance(found, matching.Scope)
    counted = matching.Done(found.count(), True) if is_ticked else None
    if isinstance(found, matching.Scope):
        counted = matching.count(found)
    must_type = bool(counted) and not is_ticked and _must_type(counted)
    context = {
        **admin.site.each_context(request),
        "title": verb.title,
        "verb": verb,
        "counted": counted,
        "ids": request.POST.getlist("id") if is_ticked else [],
        "search": view.search,
        "must_type": must_type and view.search.values("installation")[0],
        "error": error,
        "longest": resolving.LONGEST,
        "back_url": log_as_it_was(request.POST or request.GET),
    }
    return TemplateResponse(request, "delivery/acting.html", context)


def log_as_it_was(given):
    back = urlencode({"q": given["q"]}) if given.get("q") else ""
    return f"{reverse('admin:delivery_delivery_changelist')}?{back}"
