"""The endpoints that SDKs send to."""

import logging
from contextlib import suppress

import msgspec
from django.conf import settings
from django.db import DatabaseError, InterfaceError, OperationalError
from django.http import HttpResponse
from django.utils import timezone
from rest_framework.views import APIView

from delivery.ingest import browsers, enrichment, parsing, pixel, sdk_settings, webhooks
from delivery.ingest import envelope as ingest_envelope
from delivery.ingest.authentication import authenticated, signed, source_of, webhook_of
from delivery.ingest.errors import NotAllowed, RequestRefused, Unreadable
from delivery.ingest.parsing import Limits, Terms
from delivery.ingest.rate_limit import check_rate
from delivery.ingest.store import store

logger = logging.getLogger(__name__)

RETRY_AFTER = 5  # seconds
FRESH = 300  # seconds for which an SDK may keep its settings


class Endpoint(APIView):
    """What every address for SDKs has: leave for pages to ask, and errors that SDKs understand.

    Exactly 200, and errors with `code` and `message`: three SDKs send everything else again. Of
    DRF's way of a request only what is needed here: the write key may stand in the body, the body
    is JSON whatever its type says, and there is one form of answer.
    """

    authentication_classes = ()
    permission_classes = ()
    parser_classes = ()
    schema = None  # openapi.py writes it
    source = None  # who sends, as soon as it is known
    visitor = ""  # the id of the cookie to set

    def initial(self, request, *args, **kwargs):
        self.now = timezone.now()

    def handle_exception(self, exc):
        try:
            if isinstance(exc, RequestRefused):
                return self.turned_away(exc)
            raise exc
        except (DatabaseError, InterfaceError) as error:
            # while the database is away a line is enough: a trace for each request fills the disk
            away = isinstance(error, OperationalError | InterfaceError)
            logger.error("Nothing could be stored: %s", error, exc_info=not away)
            answer = self.refused(503, "unavailable", "Nothing was stored. Send it again.")
            answer["Retry-After"] = str(RETRY_AFTER)
            return answer

    def finalize_response(self, request, response, *args, **kwargs):
        if self.visitor:
            browsers.remember(response, self.visitor)
        return browsers.readable(request, response, with_cookie=bool(self.visitor))

    def turned_away(self, refused):
        self.keep(refused)
        answer = self.refused(refused.status, refused.code, str(refused))
        if refused.retry_after:
            answer["Retry-After"] = str(refused.retry_after)
        return answer

    def refused(self, status, code, message):
        return refusal(status, code, message)

    def keep(self, refused):
        """Write down what was refused as a whole, if it is known whose it is and is not to come
        again."""
        if self.source and not refused.retry_after:
            text = refused.text[: settings.MAX_MESSAGE_BYTES].decode("utf-8", "replace")
            store(self.source, [], [(0, str(refused), text)], now=self.now)

    def options(self, request, *args, **kwargs):
        return browsers.preflight(request, HttpResponse(status=204))

    def http_method_not_allowed(self, request, *args, **kwargs):
        allowed = ", ".join(self._allowed_methods())
        answer = refusal(405, "method_not_allowed", f"Only {allowed} is understood here.")
        answer["Allow"] = allowed
        return answer


class TakingEndpoint(Endpoint):
    """An address that takes messages."""

    def take(self, opened, *, from_client, signature="", **terms):
        """Store what an opened body holds for self.source, and return what it was."""
        body, envelope, mended = opened
        source, now = self.source, self.now
        check_rate(source, len(envelope.batch or [body]))
        self.visitor = browsers.visitor(self.request, source) if from_client else ""
        known = {
            "now": now,
            "limits": limits(),
            "visitor": self.visitor,
            "added": self.added(from_client),
            "mended": mended,
        }
        batch = parsing.parse(body, envelope, Terms(**known, **terms))
        store(source, batch.messages, batch.refused, now=now, signature=signature)
        return batch

    def added(self, from_client):
        return enrichment.added(
            self.request.META,
            self.source.default_context,
            from_client=from_client,
            anonymise=settings.ANONYMISE_IP,
        )


class IngestView(TakingEndpoint):
    """Accept messages from a source, whatever the Content-Type says: one, or `{"batch": […]}`.

    200  stored and committed; what was refused of a batch is named with its place
    400  the request cannot be read; 413 it is too large
    401  no or unknown write key, or the signature does not fit; 403 a page that may not send
    409  this very request, signed, was taken before
    429  more than the source may send: come again (Retry-After, seconds)
    503  nothing could be stored: come again (Retry-After, seconds)
    """

    implied = ""  # the type of message, set by the address
    single = False  # whether the body is one message that names its type

    def post(self, request):
        opened = self.opened(request)
        signature = request.META.get("HTTP_X_SIGNATURE", "")
        self.source = self.sender(request, opened[1], signature)
        browsers.check_origin(request, self.source)
        batch = self.take(
            opened,
            from_client=browsers.is_browser(request),
            signature=signature,
            implied=self.implied,
            single=self.single,
        )
        if not (self.implied or self.single):
            return taken(batch)
        if batch.refused:
            return refusal(400, "invalid_message", batch.refused[0][1])
        return answer({"success": True})

    def opened(self, request):
        try:
            return ingest_envelope.opened(unpacked(request))
        except Unreadable:
            with suppress(NotAllowed):
                self.source = authenticated(request)
            raise

    def sender(self, request, envelope, signature):
        if signature:
            return signed(request, envelope, self.now)
        return authenticated(request, envelope)


class PixelView(TakingEndpoint):
    """Accept a message in the address of an image, and answer with the image.

    200  stored, or refused: nobody who reads a mail can do anything about a broken image. What
         was refused says `X-Penstock-Refused`, and is kept if the write key was known
    503  nothing could be stored; the image comes nevertheless
    """

    def get(self, request, kind):
        asked = request.GET.dict()
        self.source = source_of(asked.get("wk", ""))
        page = request.META.get("HTTP_REFERER", "")
        opened = ingest_envelope.opened(pixel.message_of(kind, asked, page))
        batch = self.take(opened, from_client=True, implied=kind)
        if batch.refused:
            return self.refused(200, "invalid_message", batch.refused[0][1])
        return image()

    def head(self, request, kind):
        return image()  # who only looks whether there is something has seen nothing

    def refused(self, status, code, message):
        answer = image(503 if status == 503 else 200)
        answer["X-Penstock-Refused"] = f"{code}: {message}".encode("ascii", "replace").decode()
        return answer


class WebhookView(TakingEndpoint):
    """Accept what a third party calls us with; the address names the webhook source.

    200  taken; what makes no message is kept as rejected: to send it again would not mend it
    400  no JSON; 401 unknown address, or the signature does not fit
    """

    def post(self, request):
        webhook = webhook_of(request.GET.get("source", ""))
        raw, headers = unpacked(request), request.headers
        url = request.build_absolute_uri()
        webhooks.check(webhook, headers, raw, self.now, method="POST", url=url)
        self.source = webhook.source
        opened = ingest_envelope.opened(webhooks.messages_of(webhook, headers, raw))
        return taken(self.take(opened, from_client=False))


class IgnoredView(Endpoint):
    """Answer 200 to what SDKs report about themselves; it is no event of anyone."""

    def post(self, request):
        return answer({"success": True})


class SegmentSettingsView(Endpoint):
    """Tell Segment's browser SDK, and Customer.io's fork of it, to send here; 401 unknown key."""

    integration = "Segment.io"

    def get(self, request, key):
        source = source_of(key)
        return kept(answer(sdk_settings.segment_settings(request, source, self.integration)))


class RudderSettingsView(Endpoint):
    """Tell RudderStack's browser SDK that its source exists; 401 no or unknown write key."""

    def get(self, request):
        return kept(answer(sdk_settings.rudder_settings(authenticated(request))))


def unpacked(request):
    """Return the body, gunzipped. Raises Unreadable."""
    size = int(request.META.get("CONTENT_LENGTH") or 0)
    most = settings.MAX_REQUEST_BYTES
    if size > most:
        raise Unreadable("too_large", f"More than {most:,} bytes.", status=413)
    encoding = request.META.get("HTTP_CONTENT_ENCODING", "")
    return ingest_envelope.decoded(request.body, encoding, limit=most)


def limits():
    return Limits(
        settings.MAX_MESSAGE_BYTES, settings.MAX_BATCH_MESSAGES, settings.MAX_REQUEST_BYTES
    )


def taken(batch):
    """Return the answer to a batch: how many messages are stored, and which were refused."""
    refused = [{"index": at, "message": reason} for at, reason, _ in batch.refused]
    told = {"success": True, "accepted": len(batch.messages)}
    return answer({**told, "rejected": refused} if refused else told)


def answer(data, status=200):
    return HttpResponse(msgspec.json.encode(data), "application/json", status)


def refusal(status, code, message):
    return answer({"success": False, "code": code, "message": message}, status)


def image(status=200):
    return HttpResponse(pixel.GIF, "image/gif", status, headers=pixel.NEVER_KEPT)


def kept(answer):
    answer["Cache-Control"] = f"private, max-age={FRESH}"
    return answer


def health(request):
    """Answer that the web server is up."""
    return HttpResponse("ok", content_type="text/plain")
