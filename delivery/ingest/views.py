"""The endpoints that SDKs send to."""

import logging
from contextlib import suppress

import msgspec
from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.http import HttpResponse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_exempt

from delivery.ingest import browsers, parsing
from delivery.ingest.authentication import authenticated, source_of
from delivery.ingest.errors import NotAllowed, RequestRefused, Unreadable
from delivery.ingest.parsing import Limits
from delivery.ingest.storing import store

logger = logging.getLogger(__name__)

RETRY_AFTER = 5  # seconds
FRESH = 300  # seconds for which an SDK may keep its settings


@method_decorator(csrf_exempt, name="dispatch")
class Endpoint(View):
    """What every address for SDKs has: leave for pages to ask, and errors that SDKs understand.

    Exactly 200, and errors with `code` and `message`: three SDKs send everything else again.
    """

    source = None  # who sends, as soon as it is known

    def dispatch(self, request, *args, **kwargs):
        try:
            answer = super().dispatch(request, *args, **kwargs)
        except RequestRefused as refused:
            self.keep(refused)
            answer = refusal(refused.status, refused.code, str(refused))
        except (DatabaseError, InterfaceError):
            logger.exception("Nothing could be stored.")
            answer = refusal(503, "unavailable", "Nothing was stored. Send it again.")
            answer["Retry-After"] = str(RETRY_AFTER)
        return browsers.readable(request, answer)

    def keep(self, refused):
        """Write down what was refused as a whole, if it is known whose it is."""
        if self.source:
            text = refused.text[: settings.MAX_MESSAGE_BYTES].decode("utf-8", "replace")
            store(self.source, [], [(0, str(refused), text)], now=timezone.now())

    def options(self, request, *args, **kwargs):
        return browsers.preflight(request, HttpResponse(status=204))

    def http_method_not_allowed(self, request, *args, **kwargs):
        allowed = ", ".join(self._allowed_methods())
        answer = refusal(405, "method_not_allowed", f"Only {allowed} is understood here.")
        answer["Allow"] = allowed
        return answer


class IngestView(Endpoint):
    """Accept messages from a source, whatever the Content-Type says: one, or `{"batch": […]}`.

    200  stored and committed; what was refused of a batch is named with its place
    400  the request cannot be read; 413 it is too large
    401  no or unknown write key; 403 a page that may not send
    503  nothing could be stored: come again (Retry-After, seconds)
    """

    implied = ""  # the type of message, set by the address

    def post(self, request):
        now = timezone.now()
        body, envelope, mended = self.read(request)
        self.source = source = authenticated(request, envelope)
        browsers.check_origin(request, source)
        batch = parsing.parse(
            body,
            envelope,
            implied=self.implied,
            mended=mended,
            now=now,
            limits=Limits(
                settings.MAX_MESSAGE_BYTES,
                settings.MAX_BATCH_MESSAGES,
                settings.MAX_REQUEST_BYTES,
            ),
        )
        store(source, batch.messages, batch.refused, now=now)
        return self.answered(batch)

    def read(self, request):
        try:
            return read(request)
        except Unreadable:
            with suppress(NotAllowed):
                self.source = authenticated(request)
            raise

    def answered(self, batch):
        refused = [{"index": at, "message": reason} for at, reason, _ in batch.refused]
        if refused and self.implied:
            return refusal(400, "invalid_message", refused[0]["message"])
        return answer({"success": True, **({"rejected": refused} if refused else {})})


class IgnoredView(Endpoint):
    """Answer 200 to what SDKs report about themselves; it is no event of anyone."""

    def post(self, request):
        return answer({"success": True})


class SegmentSettingsView(Endpoint):
    """Tell Segment's browser SDK, and Customer.io's fork of it, to send here; 401 unknown key."""

    integration = "Segment.io"

    def get(self, request, key):
        source = source_of(key)
        return kept(answer(browsers.segment_settings(request, source, self.integration)))


class RudderSettingsView(Endpoint):
    """Tell RudderStack's browser SDK that its source exists; 401 no or unknown write key."""

    def get(self, request):
        return kept(answer(browsers.rudder_settings(authenticated(request))))


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


def answer(data, status=200):
    return HttpResponse(msgspec.json.encode(data), "application/json", status)


def refusal(status, code, message):
    return answer({"success": False, "code": code, "message": message}, status)


def kept(answer):
    answer["Cache-Control"] = f"private, max-age={FRESH}"
    return answer


def health(request):
    """Answer that the web server is up."""
    return HttpResponse("ok", content_type="text/plain")
