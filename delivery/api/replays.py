"""Replays by the API: start one, see how far it is, pause, resume or cancel it."""

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
from integrations.api.endpoint import Endpoint, given
from integrations.api.errors import Conflict, Unprocessable
from integrations.api.lists import answered, number, paged
from integrations.api.schema import ID, PAGING, Error, page_of

READ = {"GET": "deliveries:read"}
WRITE = {"POST": "deliveries:replay"}
SEE = {"GET": "delivery.view_replay"}
START = {"POST": "delivery.add_replay"}


class ReplaysView(Endpoint):
    scopes = READ | WRITE
    permissions = SEE | START
    parameters = {"GET": paged(installation=number)}

    @extend_schema(
        parameters=[OpenApiParameter("installation", ID), *PAGING],
        responses={200: page_of(serializers_replays.Replay)},
    )
    def get(self, request):
        """List replays, newest first."""
        return Response(answered(rows(), shown, **self.asked))

    @extend_schema(
        request=serializers_replays.ReplayInput,
        responses={201: serializers_replays.Replay, 409: Error},
    )
    def post(self, request):
        """Start a replay of deliveries, or a backfill of events."""
        form = checked(request)
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
        return Response(shown(replay), status=status.HTTP_201_CREATED)


class PreviewView(Endpoint):
    """Count what a replay would queue, and say how long it takes; 422 names each wrong field.

    Not exact: there are more, but counting took too long.
    """

    scopes = {"POST": "deliveries:read"}
    permissions = {"POST": "delivery.view_replay"}

    @extend_schema(
        request=serializers_replays.ReplayInput, responses={200: serializers_replays.Counted}
    )
    def post(self, request):
        form = checked(request)
        found = estimate.estimate_replay(
            form.chosen_kind,
            form.cleaned_data["installation"],
            form.selection(),
            rate=form.cleaned_data["rate"],
        )
        return Response(asdict(found))


class ReplayView(Endpoint):
    """Tell how far a replay is; 404 when there is none of that id."""

    scopes = READ
    permissions = SEE

    @extend_schema(responses={200: serializers_replays.Replay})
    def get(self, request, pk):
        return Response(shown(found(pk)))


class TurnView(Endpoint):
    """Pause, resume or cancel a replay: 200 the replay; 404; 409 it is not in that state."""

    scopes = WRITE
    permissions = START
    turn = None  # a function of replaying.py

    @extend_schema(request=None, responses={200: serializers_replays.Replay, 409: Error})
    def post(self, request, pk):
        replay = found(pk)
        try:
            type(self).turn(replay)
        except InvalidReplayState as error:
            raise Conflict(str(error)) from None
        replay.refresh_from_db()
        return Response(shown(replay))


class PauseView(TurnView):
    turn = staticmethod(lifecycle.pause_replay)


class ResumeView(TurnView):
    turn = staticmethod(lifecycle.resume_replay)


class CancelView(TurnView):
    turn = staticmethod(lifecycle.cancel_replay)


def rows():
    return Replay.objects.select_related("installation", "created_by")


def found(pk):
    try:
        return rows().get(pk=pk)
    except Replay.DoesNotExist:
        raise Http404(f"There is no replay {pk}.") from None


def checked(request):
    """Return the form that the body fills in. Raises Unprocessable with each wrong field."""
    form, wrong = ReplayForm(request.data if isinstance(request.data, dict) else {}), {}
    try:
        given(request, serializers_replays.ReplayInput)
    except Unprocessable as error:
        wrong = {name.partition(".")[0]: told for name, told in error.fields.items()}
    wrong = {**{name: errors[0] for name, errors in form.errors.items()}, **wrong}
    if wrong:
        raise Unprocessable(wrong)
    return form


def shown(replay):
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
