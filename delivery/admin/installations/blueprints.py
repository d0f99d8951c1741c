"""The pages of an installation's blueprint: the editor, its preview, and the revisions."""

from dataclasses import asdict

import msgspec
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, JsonResponse
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.utils import timezone
from django.views.decorators.http import require_POST

from delivery.admin import keyset
from delivery.admin.installations.layout import (
    get_changeable_installation,
    get_viewable_installation,
    installation_context,
)
from delivery.log import body_access
from delivery.log.field_suggestions import build_vocabulary
from delivery.models import Event
from delivery.tester import test_message
from delivery.tester.preview import (
    InvalidMessage,
    NoSuchEvent,
    load_stored_message,
    parse_pasted_message,
    preview_message,
)
from integrations.blueprints import BlueprintError, Problem
from integrations.blueprints.diff import (
    describe_changes,
    diff_lines,
    format_blueprint,
    order_blueprint_keys,
)
from integrations.blueprints.directives import DIRECTIVES
from integrations.encryption import SecretsUnreadable
from integrations.installations import revisions as installation_revisions
from integrations.installations.revisions import OutdatedRevision, save_revision
from integrations.models import Revision

PREVIEW_EVENT_CHOICES = 25  # newest events offered for a preview
REVISIONS_PER_PAGE = 50


def blueprint_editor_view(request, pk):
    installation = get_viewable_installation(request, pk)
    if request.method != "POST":
        return _render_editor(
            request, installation, order_blueprint_keys(installation.revision.blueprint)
        )
    get_changeable_installation(request, pk)
    blueprint, based_on = None, keyset.parse_integer(request.POST.get("based_on"))
    try:
        blueprint = _posted_blueprint(request)
        saved = save_revision(
            installation,
            blueprint,
            by=request.user,
            summary=request.POST.get("summary", ""),
            based_on=based_on,
        )
    except BlueprintError as error:
        return _render_editor(
            request, installation, blueprint, problems=error.problems, based_on=based_on
        )
    except OutdatedRevision as error:
        installation = get_viewable_installation(request, pk)  # with the newest revision
        context = {"conflict": str(error), "compared_with": based_on}
        return _render_editor(request, installation, blueprint, **context)
    messages.success(request, f"Revision {saved.number} is saved and applies from now on.")
    return redirect("admin:installation_blueprint", pk)


def _render_editor(
    request, installation, blueprint, *, problems=(), conflict="", compared_with=None, based_on=None
):
    may_see = request.user.has_perm("delivery.view_event") and body_access.may_see_bodies(
        request.user
    )
    context = {
        **installation_context(request, installation, "blueprint"),
        "revision": installation.revision,
        "based_on": based_on or installation.revision.number,
        "problems": problems,
        "conflict": conflict,
        "compared_with": compared_with,
        "recent_events": Event.objects.order_by("-pk")[:PREVIEW_EVENT_CHOICES] if may_see else [],
        "data": {
            **_as_cards(blueprint),
            "kinds": installation.destination.kinds,
            "directives": list(DIRECTIVES),
            **(asdict(build_vocabulary()) if may_see else {"fields": [], "names": []}),
            "changed": bool(problems or conflict),
        },
    }
    return TemplateResponse(request, "delivery/blueprints/editor.html", context)


def _as_cards(blueprint):
    """Return a blueprint for the page's script, with mappings as text so that no digit is lost."""
    given = blueprint if isinstance(blueprint, dict) else {}
    actions = given.get("actions")
    cards = [
        {**each, "mapping": format_blueprint(each.get("mapping"))}
        for each in (actions if isinstance(actions, list) else ())
        if isinstance(each, dict)
    ]
    return {"actions": cards, "otherwise": given.get("otherwise", "drop")}


def _posted_blueprint(request):
    """Return the posted blueprint. Raises BlueprintError if it is not JSON."""
    try:
        return msgspec.json.decode(request.POST.get("blueprint", ""))
    except ValueError as error:
        raise BlueprintError([Problem("", f"it is not valid JSON: {error}")]) from None


@require_POST
def blueprint_preview_view(request, pk):
    """Answer with a blueprint's problems, or with what it would send, as HTML."""
    installation = get_viewable_installation(request, pk)
    shown, problems = {}, ()
    try:
        shown["preview"] = preview_message(
            installation, _posted_message(request), _posted_blueprint(request)
        )
    except BlueprintError as error:
        problems = error.problems
    except (NoSuchEvent, InvalidMessage, SecretsUnreadable) as error:
        shown["trouble"] = str(error)
    made = shown.get("preview")
    return JsonResponse(
        {
            "problems": [each._asdict() for each in problems],
            "triggered": [step.triggered for step in made.actions] if made else None,
            "html": render_to_string("delivery/blueprints/_preview.html", shown) if shown else None,
        }
    )


@require_POST
def blueprint_test_event_view(request, pk):
    """Send a test event with the posted blueprint, saved or not; answer with HTML."""
    installation = get_changeable_installation(request, pk)
    try:
        tried = test_message.send_test_event(
            installation, _posted_message(request), _posted_blueprint(request), now=timezone.now()
        )
        html = render_to_string("integrations/installations/_test_result.html", {"trial": tried})
    except (BlueprintError, NoSuchEvent, InvalidMessage, SecretsUnreadable) as error:
        html = render_to_string("delivery/blueprints/_preview.html", {"trouble": str(error)})
    return JsonResponse({"html": html})


def _posted_message(request):
    """Return the chosen event or the pasted message. Raises NoSuchEvent and InvalidMessage."""
    event_id = keyset.parse_integer(request.POST.get("event_id"))
    if event_id is None:
        try:
            return parse_pasted_message(
                msgspec.json.decode(request.POST.get("message", "")), timezone.now()
            )
        except msgspec.DecodeError as error:
            raise InvalidMessage(f"The message is not valid JSON: {error}") from None
    if not (
        request.user.has_perm("delivery.view_event") and body_access.may_see_bodies(request.user)
    ):
        raise PermissionDenied
    return load_stored_message(event_id)


def revision_list_view(request, pk):
    installation = get_viewable_installation(request, pk)
    rows = installation.revisions.select_related("created_by").order_by("-number")
    before = keyset.parse_integer(request.GET.get("before"))
    rows = list((rows.filter(number__lt=before) if before else rows)[: REVISIONS_PER_PAGE + 1])
    context = {
        **installation_context(request, installation, "blueprint"),
        "revisions": rows[:REVISIONS_PER_PAGE],
        "older": rows[REVISIONS_PER_PAGE - 1].number if len(rows) > REVISIONS_PER_PAGE else None,
    }
    return TemplateResponse(request, "delivery/blueprints/revisions.html", context)


def revision_view(request, pk, number):
    """Show a revision compared with another: `against`, or the one before it."""
    installation = get_viewable_installation(request, pk)
    shown = _get_revision_or_404(installation, number)
    against = keyset.parse_integer(request.GET.get("against"))
    others = installation.revisions.exclude(pk=shown.pk).order_by("-number")
    other = (
        others.filter(number__lt=number).first()
        if against is None
        else _get_revision_or_404(installation, against)
    )
    old = other.blueprint if other else {}
    context = {
        **installation_context(request, installation, "blueprint"),
        "revision": shown,
        "other": other,
        "others": others.values_list("number", flat=True)[:REVISIONS_PER_PAGE],
        "changes": describe_changes(old, shown.blueprint),
        "blueprint_text": format_blueprint(shown.blueprint),
        "lines": [(line[0], line) for line in diff_lines(old, shown.blueprint)],
    }
    return TemplateResponse(request, "delivery/blueprints/revision.html", context)


@require_POST
def roll_back_view(request, pk, number):
    installation = get_changeable_installation(request, pk)
    _get_revision_or_404(installation, number)
    try:
        saved = installation_revisions.roll_back(installation, number, by=request.user)
    except BlueprintError as error:
        messages.error(request, f"Revision {number} can no longer be used. {error}")
    else:
        messages.success(
            request, f"Revision {saved.number} restores revision {number} and applies from now on."
        )
    return redirect("admin:revisions", pk)


def _get_revision_or_404(installation, number):
    try:
        return installation.revisions.select_related("created_by").get(number=number)
    except Revision.DoesNotExist:
        raise Http404(f"{installation} has no revision {number}.") from None


BLUEPRINT_URLS = [
    ("<int:pk>/blueprint/", blueprint_editor_view, "installation_blueprint"),
    ("<int:pk>/blueprint/preview/", blueprint_preview_view, "blueprint_preview"),
    ("<int:pk>/blueprint/test-event/", blueprint_test_event_view, "blueprint_test_event"),
    ("<int:pk>/revisions/", revision_list_view, "revisions"),
    ("<int:pk>/revisions/<int:number>/", revision_view, "revision"),
    ("<int:pk>/revisions/<int:number>/roll-back/", roll_back_view, "roll_back"),
]
