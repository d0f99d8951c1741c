"""Blueprint revisions of an installation: list, save, compare and roll back."""

from contextlib import contextmanager

from django.http import Http404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.response import Response

from delivery.api.serializers import blueprints as serializers
from delivery.tester.preview import InvalidMessage, NoSuchEvent
from integrations.api.endpoint import ManagementAPIView, read_body
from integrations.api.errors import Conflict, Unprocessable
from integrations.api.lists import MAX_ID, list_parameters, paginate, parse_id
from integrations.api.schema import PAGING_PARAMETERS, ErrorSerializer, page_serializer
from integrations.blueprints import BlueprintError
from integrations.blueprints.diff import describe_changes, diff_lines, order_blueprint_keys
from integrations.encryption import SecretsUnreadable
from integrations.installations.revisions import OutdatedRevision, roll_back, save_revision
from integrations.models import Installation, Revision

BLUEPRINT_READ_SCOPES = {"GET": "installations:read"}
BLUEPRINT_WRITE_SCOPES = {"POST": "installations:write"}
AGAINST_PARAMETER = OpenApiParameter(
    "against",
    int,
    description="The number of the revision to compare with; the previous one, if omitted.",
)


class RevisionsView(ManagementAPIView):
    scopes = {**BLUEPRINT_READ_SCOPES, **BLUEPRINT_WRITE_SCOPES}
    permissions = {"POST": "integrations.add_revision"}
    parameters = {"GET": list_parameters()}

    @extend_schema(
        parameters=PAGING_PARAMETERS,
        responses={200: page_serializer(serializers.RevisionSerializer)},
    )
    def get(self, request, pk):
        """List the revisions of an installation's blueprint, newest first."""
        installation = get_installation_with_revision(pk)
        rows = installation.revisions.select_related("created_by").defer("blueprint")
        return Response(
            paginate(rows, lambda each: serialize_revision(each, installation), **self.query_params)
        )

    @extend_schema(
        request=serializers.NewRevisionSerializer,
        responses={201: serializers.FullRevisionSerializer, 409: ErrorSerializer},
    )
    def post(self, request, pk):
        """Save a blueprint as the next revision, which shapes deliveries from then on.

        409 if there is a newer revision than the one it is based on.
        """
        installation, body = (
            get_installation_with_revision(pk),
            read_body(request, serializers.NewRevisionSerializer),
        )
        with translate_blueprint_errors():
            saved = save_revision(
                installation,
                body.get("blueprint"),
                by=request.user,
                summary=read_text_field(body, "change_summary"),
                based_on=read_integer_field(body, "based_on"),
            )
        return Response(
            serialize_revision_detail(saved, installation), status=status.HTTP_201_CREATED
        )


class RevisionView(ManagementAPIView):
    scopes = BLUEPRINT_READ_SCOPES

    @extend_schema(responses={200: serializers.FullRevisionSerializer})
    def get(self, request, pk, revision):
        """Show one revision, with its blueprint."""
        installation = get_installation_with_revision(pk)
        return Response(
            serialize_revision_detail(get_revision_or_404(installation, revision), installation)
        )


class RevisionDiffView(ManagementAPIView):
    scopes = BLUEPRINT_READ_SCOPES
    parameters = {"GET": {"against": parse_id}}

    @extend_schema(
        parameters=[AGAINST_PARAMETER], responses={200: serializers.DifferenceSerializer}
    )
    def get(self, request, pk, revision):
        """Compare a revision with another one, or with the previous one."""
        installation = get_installation_with_revision(pk)
        new = get_revision_or_404(installation, revision)
        old = self.compared_revision(installation, new)
        before = old.blueprint if old else {}
        return Response(
            {
                "old": old.number if old else None,
                "new": new.number,
                "changes": describe_changes(before, new.blueprint),
                "unified": diff_lines(before, new.blueprint),
            }
        )

    def compared_revision(self, installation, new):
        if "against" in self.query_params:
            return get_revision_or_404(installation, self.query_params["against"])
        return installation.revisions.filter(number__lt=new.number).order_by("number").last()


class RevisionRollBackView(ManagementAPIView):
    scopes = BLUEPRINT_WRITE_SCOPES
    permissions = {"POST": "integrations.add_revision"}

    @extend_schema(request=None, responses={201: serializers.FullRevisionSerializer})
    def post(self, request, pk, revision):
        """Save an old revision again as the newest one."""
        installation = get_installation_with_revision(pk)
        get_revision_or_404(installation, revision)
        with translate_blueprint_errors():
            saved = roll_back(installation, revision, by=request.user)
        return Response(
            serialize_revision_detail(saved, installation), status=status.HTTP_201_CREATED
        )


def get_installation_with_revision(pk):
    rows = Installation.objects.installed().select_related("revision")
    installation = rows.filter(pk=pk).first()
    if installation is None:
        raise Http404(f"There is no installation {pk}.")
    return installation


def get_revision_or_404(installation, number):
    try:
        return installation.revisions.select_related("created_by").get(number=number)
    except Revision.DoesNotExist:
        raise Http404(f"{installation} has no revision {number}.") from None


def read_text_field(body, name):
    value = body.get(name, "")
    if not isinstance(value, str):
        raise Unprocessable({name: "Must be a string."})
    return value


def read_integer_field(body, name):
    value = body.get(name)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise Unprocessable({name: "Must be a number."})
    if value is not None and not 0 <= value <= MAX_ID:
        raise Unprocessable({name: "The number is out of range."})
    return value


@contextmanager
def translate_blueprint_errors():
    """Translate exceptions of blueprints and previews into errors of the API."""
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
    except (OutdatedRevision, SecretsUnreadable) as error:
        raise Conflict(str(error)) from None


def serialize_revision(revision, installation):
    return {
        "number": revision.number,
        "created_at": revision.created_at,
        "created_by": str(revision.created_by) if revision.created_by else None,
        "change_summary": revision.change_summary,
        "current": revision.pk == installation.revision_id,
    }


def serialize_revision_detail(revision, installation):
    return {
        **serialize_revision(revision, installation),
        "blueprint": order_blueprint_keys(revision.blueprint),
    }
