"""The pages of an installation's blueprint: the editor with its preview, and the revisions."""

from dataclasses import asdict

import msgspec
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, JsonResponse
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import path
from django.utils import timezone
from django.views.decorators.http import require_POST

from delivery.admin import keyset
from delivery.admin.installations.layout import found, frame, to_change
from delivery.log import body_access
from delivery.log.field_suggestions import vocabulary
from delivery.models import Event
from delivery.tester import test_message
from delivery.tester.preview import NoSuchEvent, Unusable, pasted, preview, stored
from integrations.blueprints import BlueprintError, Problem
from integrations.blueprints.diff import changes, difference, in_order, text_of
from integrations.blueprints.directives import DIRECTIVES
from integrations.encryption import SecretsUnreadable
from integrations.installations import revisions as installation_revisions
from integrations.installations.revisions import Outdated, save_revision
from integrations.models import Revision

RECENT = 25  # events that are offered for a preview
REVISIONS = 50  # on a page


def urls(mine):
    """Return the addresses. mine: what makes a view one of the admin's"""
    return [
        path("<int:pk>/blueprint/", mine(edit), name="installation_blueprint"),
        path("<int:pk>/blueprint/preview/", mine(show_preview), name="blueprint_preview"),
        path("<int:pk>/blueprint/test-event/", mine(send_test), name="blueprint_test_event"),
        path("<int:pk>/revisions/", mine(revisions), name="revisions"),
        path("<int:pk>/revisions/<int:number>/", mine(revision), name="revision"),
        path("<int:pk>/revisions/<int:number>/roll-back/", mine(roll_back), name="roll_back"),
    ]


def edit(request, pk):
    installation = found(request, pk)
    if request.method != "POST":
        return _editor(request, installation, in_order(installation.revision.blueprint))
    to_change(request, pk)
    blueprint, based_on = None, keyset.number(request.POST.get("based_on"))
    try:
        blueprint = _given(request)
        saved = save_revision(
            installation,
            blueprint,
            by=request.user,
            summary=request.POST.get("summary", ""),
            based_on=based_on,
        )
    except BlueprintError as error:
        return _editor(request, installation, blueprint, problems=error.problems)
    except Outdated as error:
        return _editor(request, installation, blueprint, outdated=str(error), based_on=based_on)
    messages.success(request, f"Revision {saved.number} is saved, and shapes what is sent now.")
    return redirect("admin:installation_blueprint", pk)


def _editor(request, installation, blueprint, *, problems=(), outdated="", based_on=None):
    may_see = request.user.has_perm("delivery.view_event") and body_access.shown_to(request.user)
    context = {
        **frame(request, installation, "blueprint"),
        "revision": installation.revision,
        "based_on": based_on or installation.revision.number,
        "problems": problems,
        "outdated": outdated,
        "recent": Event.objects.order_by("-pk")[:RECENT] if may_see else [],
        "data": {
            **_as_cards(blueprint),
            "kinds": installation.destination.kinds,
            "directives": list(DIRECTIVES),
            **(asdict(vocabulary()) if may_see else {"fields": [], "names": []}),
            "changed": bool(problems or outdated),
        },
    }
    return TemplateResponse(request, "delivery/blueprints/editor.html", context)


def _as_cards(blueprint):
    """Return a blueprint as the page's script takes it: each mapping as text, every digit kept."""
    given = blueprint if isinstance(blueprint, dict) else {}
    actions = given.get("actions")
    cards = [
        {**each, "mapping": text_of(each.get("mapping"))}
        for each in (actions if isinstance(actions, list) else ())
        if isinstance(each, dict)
    ]
    return {"actions": cards, "otherwise": given.get("otherwise", "drop")}


def _given(request):
    """Return the blueprint that was posted. Raises BlueprintError when it is no JSON."""
    try:
        return msgspec.json.decode(request.POST.get("blueprint", ""))
    except ValueError as error:
        raise BlueprintError([Problem("", f"it is no JSON: {error}")]) from None


@require_POST
def show_preview(request, pk):
    """Answer with what is wrong with a blueprint, or with what it would send, as HTML."""
    installation = found(request, pk)
    shown, problems = {}, ()
    try:
        shown["preview"] = preview(installation, _message(request), _given(request))
    except BlueprintError as error:
        problems = error.problems
    except (NoSuchEvent, Unusable, SecretsUnreadable) as error:
        shown["trouble"] = str(error)
    made = shown.get("preview")
    return JsonResponse(
        {
            "problems": [each._asdict() for each in problems],
            "triggered": [step.triggered for step in made.steps] if made else None,
            "html": render_to_string("delivery/blueprints/_preview.html", shown) if shown else None,
        }
    )


@require_POST
def send_test(request, pk):
    """Send a test event by the blueprint that is posted, saved or not; answer with HTML."""
    installation = to_change(request, pk)
    try:
        tried = test_message.send_test_event(
            installation, _message(request), _given(request), now=timezone.now()
        )
        html = render_to_string("integrations/installations/_test_result.html", {"trial": tried})
    except (BlueprintError, NoSuchEvent, Unusable, SecretsUnreadable) as error:
        html = render_to_string("delivery/blueprints/_preview.html", {"trouble": str(error)})
    return JsonResponse({"html": html})


def _message(request):
    """Return the message that is asked about. Raises NoSuchEvent and Unusable."""
    event_id = keyset.number(request.POST.get("event_id"))
    if event_id is None:
        try:
            return pasted(msgspec.json.decode(request.POST.get("message", "")), timezone.now())
        except msgspec.DecodeError as error:
            raise Unusable(f"It is no JSON: {error}") from None
    if not (request.user.has_perm("delivery.view_event") and body_access.shown_to(request.user)):
        raise PermissionDenied
    return stored(event_id)


def revisions(request, pk):
    installation = found(request, pk)
    rows = installation.revisions.select_related("created_by").order_by("-number")
    before = keyset.number(request.GET.get("before"))
    rows = list((rows.filter(number__lt=before) if before else rows)[: REVISIONS + 1])
    context = {
        **frame(request, installation, "blueprint"),
        "revisions": rows[:REVISIONS],
        "older": rows[REVISIONS - 1].number if len(rows) > REVISIONS else None,
    }
    return TemplateResponse(request, "delivery/blueprints/revisions.html", context)


def revision(request, pk, number):
    """Show a revision beside another: `against`, or the one before it."""
    installation = found(request, pk)
    shown = _revision(installation, number)
    against = keyset.number(request.GET.get("against"))
    others = installation.revisions.exclude(pk=shown.pk).order_by("-number")
    other = (
        others.filter(number__lt=number).first()
        if against is None
        else _revision(installation, against)
    )
    old = other.blueprint if other else {}
    context = {
        **frame(request, installation, "blueprint"),
        "revision": shown,
        "other": other,
        "others": others.values_list("number", flat=True)[:REVISIONS],
        "changes": changes(old, shown.blueprint),
        "whole": text_of(shown.blueprint),
        "lines": [(line[0], line) for line in difference(old, shown.blueprint)],
    }
    return TemplateResponse(request, "delivery/blueprints/revision.html", context)


@require_POST
def roll_back(request, pk, number):
    installation = to_change(request, pk)
    _revision(installation, number)
    try:
        saved = installation_revisions.roll_back(installation, number, by=request.user)
    except BlueprintError as error:
        messages.error(request, f"Revision {number} cannot be used any more. {error}")
    else:
        messages.success(
            request, f"Revision {saved.number} is revision {number} again, and shapes what is sent."
        )
    return redirect("admin:revisions", pk)


def _revision(installation, number):
    try:
        return installation.revisions.select_related("created_by").get(number=number)
    except Revision.DoesNotExist:
        raise Http404(f"{installation} has no revision {number}.") from None
