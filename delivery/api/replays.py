"""Replays: preview, start, follow, pause, resume and cancel them."""

from dataclasses import asdict

from django.http import Http404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.response import Response

from delivery.api.serializers import replays as serializers_replays
from delivery.models import Replay
from delivery.replay import estimate, lifecycle
from delivery.replay.form import ReplayForm
from delivery.replay.lifecycle import InvalidReplayState, ReplayAlreadyRunning
from integrations.api.endpoint import ManagementAPIView, validate_body
from integrations.api.errors import Conflict, Unprocessable
from integrations.api.lists import list_parameters, paginate, parse_id
from integrations.api.schema import ID_SCHEMA, PAGING_PARAMETERS, ErrorSerializer, page_serializer

REPLAY_READ_SCOPES = {"GET": "deliveries:read"}
REPLAY_WRITE_SCOPES = {"POST": "deliveries:replay"}
REPLAY_VIEW_PERMISSIONS = {"GET": "delivery.view_replay"}
REPLAY_ADD_PERMISSIONS = {"POST": "delivery.add_replay"}


class ReplaysView(ManagementAPIView):
    scopes = REPLAY_READ_SCOPES | REPLAY_WRITE_SCOPES
    permissions = REPLAY_VIEW_PERMISSIONS | REPLAY_ADD_PERMISSIONS
    parameters = {"GET": list_parameters(installation=parse_id)}

    @extend_schema(
        parameters=[OpenApiParameter("installation", ID_SCHEMA), *PAGING_PARAMETERS],
        responses={200: page_serializer(serializers_replays.ReplaySerializer)},
    )
    def get(self, request):
        """List replays, newest first."""
        return Response(paginate(select_replays(), serialize_replay, **self.query_params))

    @extend_schema(
        request=serializers_replays.ReplayInputSerializer,
        responses={201: serializers_replays.ReplaySerializer, 409: ErrorSerializer},
    )
    def post(self, request):
        """Start a replay of deliveries, or a backfill of events."""
        form = validate_replay_form(request)
        try:
            replay = lifecycle.start_replay(
                form.chosen_kind,
                form.cleaned_data["installation"],
                form.selection(),
                rate=form.cleaned_data["rate"],
                by=request.user,
            )
        except ReplayAlreadyRunning as error:
            raise Conflict(str(error)) from None
        return Response(serialize_replay(replay), status=status.HTTP_201_CREATED)


class ReplayPreviewView(ManagementAPIView):
    """Count what a replay would queue, and estimate how long it takes.

    `exact` is false if counting took too long; then there are more. 422 names each invalid field.
    """

    scopes = {"POST": "deliveries:read"}
    permissions = {"POST": "delivery.view_replay"}

    @extend_schema(
        request=serializers_replays.ReplayInputSerializer,
        responses={200: serializers_replays.ReplayEstimateSerializer},
    )
    def post(self, request):
        form = validate_replay_form(request)
        replay_estimate = estimate.estimate_replay(
            form.chosen_kind,
            form.cleaned_data["installation"],
            form.selection(),
            rate=form.cleaned_data["rate"],
        )
        return Response(asdict(replay_estimate))


class ReplayView(ManagementAPIView):
    """Show a replay and its progress; 404 if there is none with that id."""

    scopes = REPLAY_READ_SCOPES
    permissions = REPLAY_VIEW_PERMISSIONS

    @extend_schema(responses={200: serializers_replays.ReplaySerializer})
    def get(self, request, pk):
        return Response(serialize_replay(get_replay_or_404(pk)))


class ReplayTransitionView(ManagementAPIView):
    """Base of changes to the state of a replay; 404 if there is none with that id."""

    scopes = REPLAY_WRITE_SCOPES
    permissions = REPLAY_ADD_PERMISSIONS
    transition = None  # a function of replay/lifecycle.py

    @extend_schema(
        request=None, responses={200: serializers_replays.ReplaySerializer, 409: ErrorSerializer}
    )
    def post(self, request, pk):
        replay = get_replay_or_404(pk)
        try:
            type(self).transition(replay)
        except InvalidReplayState as error:
            raise Conflict(str(error)) from None
        replay.refresh_from_db()
        return Response(serialize_replay(replay))


class ReplayPauseView(ReplayTransitionView):
    """Pause a replay. What is already in its lane is still sent; 409 if its state forbids it."""

    transition = staticmethod(lifecycle.pause_replay)


class ReplayResumeView(ReplayTransitionView):
    """Resume a paused replay where it stopped; 409 if its state forbids it."""

    transition = staticmethod(lifecycle.resume_replay)


class ReplayCancelView(ReplayTransitionView):
    """Cancel a replay and take back deliveries that were not sent; 409 if its state forbids it."""

    transition = staticmethod(lifecycle.cancel_replay)


def select_replays():
    return Replay.objects.select_related("installation", "created_by")


def get_replay_or_404(pk):
    try:
        return select_replays().get(pk=pk)
    except Replay.DoesNotExist:
        raise Http404(f"There is no replay {pk}.") from None


def validate_replay_form(request):
    """Return the form with the values of the body. Raises Unprocessable for invalid fields."""
    form, wrong = ReplayForm(request.data if isinstance(request.data, dict) else {}), {}
    try:
        validate_body(request, serializers_replays.ReplayInputSerializer)
    except Unprocessable as error:
        wrong = {name.partition(".")[0]: problem for name, problem in error.fields.items()}
    wrong = {**{name: errors[0] for name, errors in form.errors.items()}, **wrong}
    if wrong:
        raise Unprocessable(wrong)
    return form


def serialize_replay(replay):
    return {
        "id": replay.pk,
        "kind": replay.kind,
        "state": replay.state,
        "installation": {"id": replay.installation_id, "name": replay.installation.name},
        "filter": replay.wanted,
        "rate": replay.rate,
        "progress": round(replay.progress, 4),
        "queued": replay.queued,
        "unwanted": replay.unwanted,
        "taken_back": replay.taken_back,
        "outcome": replay.outcome,
        "created_by": replay.created_by.get_username() if replay.created_by else None,
        "created_at": replay.created_at,
        "finished_at": replay.finished_at,
    }
