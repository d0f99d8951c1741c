"""Replays by the API: start one, see how far it is, pause, resume or cancel it."""

from django.http import Http404
from rest_framework import status
from rest_framework.response import Response

from delivery import replaying
from delivery.api.parameters import cursor, read_replays
from delivery.forms import ReplayForm
from delivery.models import Replay
from delivery.replaying import AlreadyRunning, NotPossible
from integrations.api.endpoint import Endpoint
from integrations.api.errors import Conflict, Unprocessable

READ = {"GET": "deliveries:read"}
WRITE = {"POST": "deliveries:replay"}
SEE = {"GET": "delivery.view_replay"}
START = {"POST": "delivery.add_replay"}


class ReplaysView(Endpoint):
    """List replays, newest first, or start one.

    GET   200 {"data", "next_cursor", "has_more"}; 422 a filter has a value that it cannot have.
    POST  201 the replay; 409 the same one is under way; 422 names each wrong field.
    """

    scopes = READ | WRITE
    permissions = SEE | START

    def get(self, request):
        page = read_replays(request.query_params).page()
        return Response(
            {
                "data": [shown(each) for each in page.rows],
                "next_cursor": cursor(page.rows[-1].pk) if page.has_older else None,
                "has_more": page.has_older,
            }
        )

    def post(self, request):
        form = checked(request.data)
        try:
            replay = replaying.start(
                form.chosen_kind,
                form.cleaned_data["installation"],
                form.wanted(),
                rate=form.cleaned_data["rate"],
                by=request.user,
            )
        except AlreadyRunning as error:
            raise Conflict(str(error)) from None
        return Response(shown(replay), status=status.HTTP_201_CREATED)


class PreviewView(Endpoint):
    """Count what a replay would queue: 200 {"count", "exact"}; 422 names each wrong field.

    Not exact: there are more, but counting took too long.
    """

    scopes = {"POST": "deliveries:read"}
    permissions = {"POST": "delivery.view_replay"}

    def post(self, request):
        form = checked(request.data)
        found = replaying.preview(
            form.chosen_kind, form.cleaned_data["installation"], form.wanted()
        )
        return Response({"count": found.count, "exact": found.exact})


class ReplayView(Endpoint):
    """Tell how far a replay is; 404 when there is none of that id."""

    scopes = READ
    permissions = SEE

    def get(self, request, pk):
        return Response(shown(found(pk)))


class TurnView(Endpoint):
    """Pause, resume or cancel a replay: 200 the replay; 404; 409 it is not in that state."""

    scopes = WRITE
    permissions = START
    turn = None  # a function of replaying.py

    def post(self, request, pk):
        replay = found(pk)
        try:
            type(self).turn(replay)
        except NotPossible as error:
            raise Conflict(str(error)) from None
        replay.refresh_from_db()
        return Response(shown(replay))


class PauseView(TurnView):
    turn = staticmethod(replaying.pause)


class ResumeView(TurnView):
    turn = staticmethod(replaying.resume)


class CancelView(TurnView):
    turn = staticmethod(replaying.cancel)


def found(pk):
    rows = Replay.objects.select_related("installation", "created_by")
    try:
        return rows.get(pk=pk)
    except Replay.DoesNotExist:
        raise Http404(f"There is no replay {pk}.") from None


def checked(data):
    """Return the form that the body fills in. Raises Unprocessable with each wrong field."""
    if not isinstance(data, dict):
        raise Unprocessable({"body": "Must be an object."})
    fields = ReplayForm.base_fields
    wrong = {n: f"Not a field; there are: {', '.join(fields)}." for n in data if n not in fields}
    form = ReplayForm(data)
    wrong.update({name: errors[0] for name, errors in form.errors.items()})
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
