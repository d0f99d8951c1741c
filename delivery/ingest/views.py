"""The endpoints that SDKs send to."""

import logging
from base64 import b64decode

from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.http import HttpResponse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views.decorators.csrf import csrf_exempt
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response
from rest_framework.views import APIView

from delivery.ingest import parsing
from delivery.ingest.parsing import Unreadable
from delivery.ingest.storing import store
from integrations.models import Source

logger = logging.getLogger(__name__)

RETRY_AFTER = 5  # seconds


@method_decorator(csrf_exempt, name="dispatch")
class IngestView(APIView):
    """Accept messages from a source, whatever the Content-Type says: one, or `{"batch": […]}`.

    200  stored and committed; what was refused of a batch is named with its place
    400  the request cannot be read; 401 no or unknown write key; 413 too large
    503  nothing could be stored: come again (Retry-After, seconds)

    Exactly 200, and errors with `code` and `message`: three SDKs send everything else again.
    """

    authentication_classes = ()  # the write key may stand in the body
    permission_classes = ()
    implied = ""  # the type of message, set by the address

    def perform_content_negotiation(self, request, force=False):
        return JSONRenderer(), "application/json"

    def handle_exception(self, exc):
        if isinstance(exc, Unreadable):
            return refusal(exc.status, exc.code, str(exc))
        if isinstance(exc, DatabaseError | InterfaceError):
            logger.exception("Nothing could be stored.")
            answer = refusal(503, "unavailable", "Nothing was stored. Send it again.")
            answer["Retry-After"] = str(RETRY_AFTER)
            return answer
        return super().handle_exception(exc)

    def post(self, request):
        now = timezone.now()
        body, envelope, mended = read(request._request)
        source = authenticated(request._request, envelope)
        batch = parsing.parse(
            body,
            envelope,
            implied=self.implied,
            mended=mended,
            now=now,
            limits=(settings.MAX_MESSAGE_BYTES, settings.MAX_BATCH_MESSAGES),
        )
        store(source, batch.messages, batch.refused, now=now)
        return self.answered(batch)

    def answered(self, batch):
        refused = [{"index": at, "message": reason} for at, reason, _ in batch.refused]
        if refused and self.implied:
            return refusal(400, "invalid_message", refused[0]["message"])
        return Response({"success": True, **({"rejected": refused} if refused else {})})


class IgnoredView(APIView):
    """Answer 200 to what SDKs report about themselves; it is no event of anyone."""

    authentication_classes = ()
    permission_classes = ()

    def post(self, request):
        return Response({"success": True})


def read(request):
    """Return the body as clean JSON, its envelope and what was mended. Raises Unreadable."""
    size = int(request.META.get("CONTENT_LENGTH") or 0)
    if size > settings.MAX_REQUEST_BYTES:
        raise Unreadable(
            "too_large", f"More than {settings.MAX_REQUEST_BYTES:,} bytes.", status=413
        )
    encoding = request.META.get("HTTP_CONTENT_ENCODING", "")
    body = parsing.decoded(request.body, encoding, limit=settings.MAX_REQUEST_BYTES)
    return parsing.opened(body)


def authenticated(request, envelope):
    """Return the source of the first write key found. Raises Unreadable with 401.

    The order of the places is that of the SDKs: header, query, body. Jitsu masks the key in the
    body, so that one must not be believed before its header.
    """
    for key in write_keys(request, envelope):
        try:
            return Source.objects.get(write_key=key)
        except Source.DoesNotExist:
            break
    raise Unreadable(
        "invalid_write_key",
        "The write key is missing or unknown. Give it as the user name of Basic "
        'authentication, as a Bearer token, or as "writeKey" in the body.',
        status=401,
    )


def write_keys(request, envelope):
    yield from _header_keys(request)
    if "writeKey" in request.GET:
        yield request.GET["writeKey"]
    yield from parsing.write_keys(envelope)


def _header_keys(request):
    scheme, _, credentials = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    if scheme.lower() == "bearer":
        yield credentials.strip()
    elif scheme.lower() == "basic":
        try:
            yield b64decode(credentials, validate=True).decode().partition(":")[0]
        except ValueError:
            return
    if "HTTP_X_WRITE_KEY" in request.META:
        yield request.META["HTTP_X_WRITE_KEY"].partition(":")[0]


def refusal(status, code, message):
    return Response({"success": False, "code": code, "message": message}, status=status)


def health(request):
    """Answer that the web server is up."""
    return HttpResponse("ok", content_type="text/plain")
