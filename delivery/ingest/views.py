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
from delivery.ingest.authentication import (
    authenticate_by_signature,
    authenticate_by_write_key,
    get_source_by_write_key,
    get_webhook_source,
)
from delivery.ingest.errors import NotAllowed, RequestRejected, UnreadableRequest
from delivery.ingest.parsing import IngestLimits, RequestContext
from delivery.ingest.rate_limit import check_rate
from delivery.ingest.store import store_messages

logger = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = 5  # seconds
SDK_SETTINGS_MAX_AGE = 300  # seconds for which an SDK may keep its settings


class IngestEndpoint(APIView):
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
    visitor_id = ""  # the id of the cookie to set

    def initial(self, request, *args, **kwargs):
        self.now = timezone.now()

    def handle_exception(self, exc):
        try:
            if isinstance(exc, RequestRejected):
                return self.reject_request(exc)
            raise exc
        except (DatabaseError, InterfaceError) as error:
            # while the database is away a line is enough: a trace for each request fills the disk
            away = isinstance(error, OperationalError | InterfaceError)
            logger.error("Nothing could be stored: %s", error, exc_info=not away)
            answer = self.build_error(503, "unavailable", "Nothing was stored. Send it again.")
            answer["Retry-After"] = str(RETRY_AFTER_SECONDS)
            return answer

    def finalize_response(self, request, response, *args, **kwargs):
        if self.visitor_id:
            browsers.set_visitor_cookie(response, self.visitor_id)
        return browsers.add_cors_headers(request, response, with_cookie=bool(self.visitor_id))

    def reject_request(self, rejection):
        self.save_rejection(rejection)
        answer = self.build_error(rejection.status, rejection.code, str(rejection))
        if rejection.retry_after:
            answer["Retry-After"] = str(rejection.retry_after)
        return answer

    def build_error(self, status, code, message):
        return error_response(status, code, message)

    def save_rejection(self, rejection):
        """Write down what was refused as a whole, if it is known whose it is and is not to come
        again."""
        if self.source and not rejection.retry_after:
            text = rejection.text[: settings.MAX_MESSAGE_BYTES].decode("utf-8", "replace")
            store_messages(self.source, [], [(0, str(rejection), text)], now=self.now)

    def options(self, request, *args, **kwargs):
        return browsers.add_preflight_headers(request, HttpResponse(status=204))

    def http_method_not_allowed(self, request, *args, **kwargs):
        allowed = ", ".join(self._allowed_methods())
        answer = error_response(405, "method_not_allowed", f"Only {allowed} is understood here.")
        answer["Allow"] = allowed
        return answer


class MessageEndpoint(IngestEndpoint):
    """An address that takes messages."""

    def accept_messages(self, opened, *, from_client, signature="", **options):
        """Store what an opened body holds for self.source, and return what it was."""
        body, envelope, repair_notes = opened
        source, now = self.source, self.now
        check_rate(source, len(envelope.batch or [body]))
        self.visitor_id = (
            browsers.get_or_create_visitor_id(self.request, source) if from_client else ""
        )
        known = {
            "now": now,
            "limits": get_ingest_limits(),
            "visitor_id": self.visitor_id,
            "added_context": self.added_context(from_client),
            "repair_notes": repair_notes,
        }
        batch = parsing.parse_messages(body, envelope, RequestContext(**known, **options))
        store_messages(source, batch.messages, batch.rejected, now=now, signature=signature)
        return batch

    def added_context(self, from_client):
        return enrichment.build_added_context(
            self.request.META,
            self.source.default_context,
            from_client=from_client,
            anonymise=settings.ANONYMISE_IP,
        )


class IngestView(MessageEndpoint):
    """Accept messages from a source, whatever the Content-Type says: one, or `{"batch": […]}`.

    200  stored and committed; what was refused of a batch is named with its place
    400  the request cannot be read; 413 it is too large
    401  no or unknown write key, or the signature does not fit; 403 a page that may not send
    409  this very request, signed, was taken before
    429  more than the source may send: come again (Retry-After, seconds)
    503  nothing could be stored: come again (Retry-After, seconds)
    """

    implied_type = ""  # the type of message, set by the address
    is_single = False  # whether the body is one message that names its type

    def post(self, request):
        opened = self.parse_body(request)
        signature = request.META.get("HTTP_X_SIGNATURE", "")
        self.source = self.authenticate_sender(request, opened[1], signature)
        browsers.check_origin(request, self.source)
        batch = self.accept_messages(
            opened,
            from_client=browsers.is_browser(request),
            signature=signature,
            implied_type=self.implied_type,
            is_single=self.is_single,
        )
        if not (self.implied_type or self.is_single):
            return batch_response(batch)
        if batch.rejected:
            return error_response(400, "invalid_message", batch.rejected[0][1])
        return json_response({"success": True})

    def parse_body(self, request):
        try:
            return ingest_envelope.parse_envelope(read_request_body(request))
        except UnreadableRequest:
            with suppress(NotAllowed):
                self.source = authenticate_by_write_key(request)
            raise

    def authenticate_sender(self, request, envelope, signature):
        if signature:
            return authenticate_by_signature(request, envelope, self.now)
        return authenticate_by_write_key(request, envelope)


class PixelView(MessageEndpoint):
    """Accept a message in the address of an image, and answer with the image.

    200  stored, or refused: nobody who reads a mail can do anything about a broken image. What
         was refused says `X-Penstock-Refused`, and is kept if the write key was known
    503  nothing could be stored; the image comes nevertheless
    """

    def get(self, request, kind):
        query = request.GET.dict()
        self.source = get_source_by_write_key(query.get("wk", ""))
        page = request.META.get("HTTP_REFERER", "")
        opened = ingest_envelope.parse_envelope(pixel.build_pixel_message(kind, query, page))
        batch = self.accept_messages(opened, from_client=True, implied_type=kind)
        if batch.rejected:
            return self.build_error(200, "invalid_message", batch.rejected[0][1])
        return pixel_response()

    def head(self, request, kind):
        return pixel_response()  # who only looks whether there is something has seen nothing

    def build_error(self, status, code, message):
        answer = pixel_response(503 if status == 503 else 200)
        answer["X-Penstock-Refused"] = f"{code}: {message}".encode("ascii", "replace").decode()
        return answer


class WebhookView(MessageEndpoint):
    """Accept what a third party calls us with; the address names the webhook source.

    200  taken; what makes no message is kept as rejected: to send it again would not mend it
    400  no JSON; 401 unknown address, or the signature does not fit
    """

    def post(self, request):
        webhook = get_webhook_source(request.GET.get("source", ""))
        raw, headers = read_request_body(request), request.headers
        url = request.build_absolute_uri()
        webhooks.check_webhook_signature(webhook, headers, raw, self.now, method="POST", url=url)
        self.source = webhook.source
        opened = ingest_envelope.parse_envelope(webhooks.build_webhook_batch(webhook, headers, raw))
        return batch_response(self.accept_messages(opened, from_client=False))


class IgnoredView(IngestEndpoint):
    """Answer 200 to what SDKs report about themselves; it is no event of anyone."""

    def post(self, request):
        return json_response({"success": True})


class SegmentSettingsView(IngestEndpoint):
    """Tell Segment's browser SDK, and Customer.io's fork of it, to send here; 401 unknown key."""

    integration = "Segment.io"

    def get(self, request, key):
        source = get_source_by_write_key(key)
        return set_private_caching(
            json_response(sdk_settings.segment_settings(request, source, self.integration))
        )


class RudderSettingsView(IngestEndpoint):
    """Tell RudderStack's browser SDK that its source exists; 401 no or unknown write key."""

    def get(self, request):
        return set_private_caching(
            json_response(sdk_settings.rudder_settings(authenticate_by_write_key(request)))
        )


def read_request_body(request):
    """Return the body, gunzipped. Raises Unreadable."""
    size = int(request.META.get("CONTENT_LENGTH") or 0)
    most = settings.MAX_REQUEST_BYTES
    if size > most:
        raise UnreadableRequest("too_large", f"More than {most:,} bytes.", status=413)
    encoding = request.META.get("HTTP_CONTENT_ENCODING", "")
    return ingest_envelope.decompress_body(request.body, encoding, limit=most)


def get_ingest_limits():
    return IngestLimits(
        settings.MAX_MESSAGE_BYTES, settings.MAX_BATCH_MESSAGES, settings.MAX_REQUEST_BYTES
    )


def batch_response(batch):
    """Return the answer to a batch: how many messages are stored, and which were refused."""
    refused = [{"index": at, "message": reason} for at, reason, _ in batch.rejected]
    result = {"success": True, "accepted": len(batch.messages)}
    return json_response({**result, "rejected": refused} if refused else result)


def json_response(data, status=200):
    return HttpResponse(msgspec.json.encode(data), "application/json", status)


def error_response(status, code, message):
    return json_response({"success": False, "code": code, "message": message}, status)


def pixel_response(status=200):
    return HttpResponse(pixel.PIXEL_GIF, "image/gif", status, headers=pixel.NO_STORE_HEADERS)


def set_private_caching(answer):
    answer["Cache-Control"] = f"private, max-age={SDK_SETTINGS_MAX_AGE}"
    return answer


def healthz(request):
    """Answer that the web server is up."""
    return HttpResponse("ok", content_type="text/plain")
