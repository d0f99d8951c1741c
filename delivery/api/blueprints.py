"""The blueprint of an installation: its revisions, and trying it before anything rests on it."""

from contextlib import contextmanager

from django.http import Http404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.response import Response

from delivery.api.serializers import blueprints as shapes
from delivery.tester.preview import InvalidMessage, NoSuchEvent
from integrations.api.endpoint import Endpoint, unchecked
from integrations.api.errors import Conflict, Unprocessable
from integrations.api.lists import LARGEST, answered, number, paged
from integrations.api.schema import PAGING, Error, page_of
from integrations.blueprints import BlueprintError
from integrations.blueprints.diff import changes, difference, in_order
from integrations.encryption import SecretsUnreadable
from integrations.installations.revisions import Outdated, roll_back, save_revision
from integrations.models import Installation, Revision

LOOK = {"GET": "installations:read"}
EDIT = {"POST": "installations:write"}
AGAINST = OpenApiParameter("against", int, description="A revision's number; else the one before.")


class RevisionsView(Endpoint):
    scopes = {**LOOK, **EDIT}
    permissions = {"POST": "integrations.add_revision"}
    parameters = {"GET": paged()}

    @extend_schema(parameters=PAGING, responses={200: page_of(shapes.Revision)})
    def get(self, request, pk):
        """List the revisions of an installation's blueprint, newest first."""
        installation = found(pk)
        rows = installation.revisions.select_related("created_by").defer("blueprint")
        return Response(answered(rows, lambda each: listed(each, installation), **self.asked))

    @extend_schema(request=shapes.NewRevision, responses={201: shapes.FullRevision, 409: Error})
    def post(self, request, pk):
        """Save a blueprint as the next revision; from then on it shapes what is sent.

        409 when there is a newer revision than the one it is based on.
        """
        installation, given = found(pk), unchecked(request, shapes.NewRevision)
        with said():
            saved = save_revision(
                installation,
                given.get("blueprint"),
                by=request.user,
                summary=text(given, "change_summary"),
                based_on=whole(given, "based_on"),
            )
        return Response(told(saved, installation), status=status.HTTP_201_CREATED)


class RevisionView(Endpoint):
    scopes = LOOK

    @extend_schema(responses={200: shapes.FullRevision})
    def get(self, request, pk, revision):
        """Show one revision, with its blueprint."""
        installation = found(pk)
        return Response(told(numbered(installation, revision), installation))


class DifferenceView(Endpoint):
    scopes = LOOK
    parameters = {"GET": {"against": number}}

    @extend_schema(parameters=[AGAINST], responses={200: shapes.Difference})
    def get(self, request, pk, revision):
        """Say what differs between a revision and another one, or the one before it."""
        installation = found(pk)
        new = numbered(installation, revision)
        old = self.other(installation, new)
        before = old.blueprint if old else {}
        return Response(
            {
                "old": old.number if old else None,
                "new": new.number,
                "changes": changes(before, new.blueprint),
                "unified": difference(before, new.blueprint),
            }
        )

    def other(self, installation, new):
        if "against" in self.asked:
            return numbered(installation, self.asked["against"])
        return installation.revisions.filter(number__lt=new.number).order_by("number").last()


class RollBackView(Endpoint):
    scopes = EDIT
    permissions = {"POST": "integrations.add_revision"}

    @extend_schema(request=None, responses={201: shapes.FullRevision})
    def post(self, request, pk, revision):
        """Save an old revision again, as the newest one."""
        installation = found(pk)
        numbered(installation, revision)
        with said():
            saved = roll_back(installation, revision, by=request.user)
        return Response(told(saved, installation), status=status.HTTP_201_CREATED)


def found(pk):
    rows = Installation.objects.installed().select_related("revision")
    installation = rows.filter(pk=pk).first()
    if installation is None:
        raise Http404(f"There is no installation {pk}.")
    return installation


def numbered(installation, number):
    try:
        return installation.revisions.select_related("created_by").get(number=number)
    except Revision.DoesNotExist:
        raise Http404(f"{installation} has no revision {number}.") from None


def text(given, name):
    value = given.get(name, "")
    if not isinstance(value, str):
        raise Unprocessable({name: "Must be a text."})
    return value


def whole(given, name):
    value = given.get(name)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise Unprocessable({name: "Must be a number."})
    if value is not None and not 0 <= value <= LARGEST:
        raise Unprocessable({name: "There is none of that number."})
    return value


@contextmanager
def said():
    """Translate what the functions raise into errors of the API."""
    try:
        yield
    except BlueprintError as error:
        fields = {}
        for place, *words in error.problems:
            fields.setdefault(place or "blueprint", []).append(words[0])
        raise Unprocessable({place: "; ".join(texts) for place, texts in fields.items()}) from None
    except NoSuchEvent as error:
        raise Unprocessable({"event_id": str(error)}) from None
    except InvalidMessage as error:
        raise Unprocessable({"message": str(error)}) from None
    except (Outdated, SecretsUnreadable) as error:
        raise Conflict(str(error)) from None


def listed(revision, installation):
    return {
        "number": revision.number,
        "created_at": revision.created_at,
        "created_by": str(revision.created_by) if revision.created_by else None,
        "change_summary": revision.change_summary,
        "current": revision.pk == installation.revision_id,
    }


def told(revision, installation):
    return {**listed(revision, installation), "blueprint": in_order(revision.blueprint)}
