"""HTTP endpoints that receive messages from SDKs, pixels and webhooks."""

import logging

import msgspec
from django.conf import settings
from django.db import DatabaseError, InterfaceError, OperationalError
from django.http import HttpResponse
from django.utils import timezone
from rest_framework.views import APIView

from delivery.ingest import browsers, enrichment, parsing, pixel, sdk_settings, webhooks
from delivery.ingest import envelope as ingest_envelope
from delivery.ingest.authentication import (
    authenticate_by_write_key,
    check_body_may_have_key,
    check_signature,
    find_source_by_body,
    find_source_by_head,
    get_source_by_write_key,
    get_webhook_source,
    is_signed,
)
from delivery.ingest.errors import RequestRejected, UnreadableRequest
from delivery.ingest.parsing import IngestLimits, RequestContext
from delivery.ingest.rate_limit import check_rate
from delivery.ingest.store import store_messages

logger = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = 5  # seconds
SDK_SETTINGS_MAX_AGE = 300  # seconds for which an SDK may keep its settings


class IngestEndpoint(APIView):
    """Base of all SDK endpoints: CORS headers and error responses that SDKs understand.

    Responses are exactly 200, or errors with `code` and `message`, because three SDKs retry
    everything else. DRF's authentication, parsers and renderers are off: the write key may be in
    the body, the body is JSON whatever its Content-Type says, and there is one response format.
    """

    authentication_classes = ()
    permission_classes = ()
    parser_classes = ()
    schema = None  # openapi.py writes it
    source = None  # the sending source, once it is authenticated
    visitor_id = ""  # the value of the cookie to set

    def initial(self, request, *args, **kwargs):
        self.now = timezone.now()

    def handle_exception(self, exc):
        try:
            if isinstance(exc, RequestRejected):
                return self.reject_request(exc)
            raise exc
        except (DatabaseError, InterfaceError) as error:
            # While the database is down, log one line: a traceback per request would fill the disk.
            away = isinstance(error, OperationalError | InterfaceError)
            logger.error("Could not store the request: %s", error, exc_info=not away)
            answer = self.build_error(503, "unavailable", "Nothing was stored. Retry the request.")
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
        """Store a rejected request, unless its source is unknown or the sender will retry it."""
        if self.source and not rejection.retry_after:
            text = rejection.text[: settings.MAX_MESSAGE_BYTES].decode("utf-8", "replace")
            store_messages(self.source, [], [(0, str(rejection), text)], now=self.now)

    def options(self, request, *args, **kwargs):
        return browsers.add_preflight_headers(request, HttpResponse(status=204))

    def http_method_not_allowed(self, request, *args, **kwargs):
        allowed = ", ".join(self._allowed_methods())
        answer = error_response(
            405, "method_not_allowed", f"{request.method} is not allowed here. Use {allowed}."
        )
        answer["Allow"] = allowed
        return answer


class MessageEndpoint(IngestEndpoint):
    """Base of the endpoints that accept messages."""

    def accept_messages(self, opened, *, from_client, signature="", **options):
        """Store the messages of a parsed body for self.source; return the parsed batch."""
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
    """Accept one message or `{"batch": […]}` from a source, whatever the Content-Type says.

    200  stored and committed; rejected messages of a batch are listed by index
    400  the request cannot be read; 413 it is too large
    401  the write key is missing or unknown, or the signature does not match
    403  the page's origin is not allowed
    409  this signed request was already accepted
    429  the source is over its rate limit; retry after Retry-After seconds
    503  nothing could be stored; retry after Retry-After seconds
    """

    implied_type = ""  # the message type that the URL implies
    is_single = False  # whether the body is one message that names its type

    def post(self, request):
        opened = self.open_authenticated(request)
        browsers.check_origin(request, self.source)
        batch = self.accept_messages(
            opened,
            from_client=browsers.is_browser(request),
            signature=request.META.get("HTTP_X_SIGNATURE", ""),
            implied_type=self.implied_type,
            is_single=self.is_single,
        )
        if not (self.implied_type or self.is_single):
            return batch_response(batch)
        if batch.rejected:
            return error_response(400, "invalid_message", batch.rejected[0][1])
        return json_response({"success": True})

    def open_authenticated(self, request):
        """Authenticate the sender as early as possible; return the parsed body.

        A key or signature in the head is checked before the body is parsed, which costs more.
        """
        source = find_source_by_head(request)
        if source is not None and not is_signed(request):
            self.source = source
        body = read_request_body(request)
        if source is not None:
            check_signature(request, source, self.now)
            self.source = source
        else:
            check_body_may_have_key(body)
        opened = ingest_envelope.parse_envelope(body)
        if source is None:
            source = find_source_by_body(opened[1])
            check_signature(request, source, self.now)
            self.source = source
        return opened


class PixelView(MessageEndpoint):
    """Accept a message from the query string of an image URL, and respond with the image.

    200  stored or rejected, because the reader of an email cannot fix a broken image. A rejection
         is named in `X-Penstock-Refused`, and stored if the write key is known
    503  nothing could be stored; the response is the image too
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
        return pixel_response()  # a HEAD request displays no image, so it is no event

    def build_error(self, status, code, message):
        answer = pixel_response(503 if status == 503 else 200)
        answer["X-Penstock-Refused"] = f"{code}: {message}".encode("ascii", "replace").decode()
        return answer


class WebhookView(MessageEndpoint):
    """Accept a webhook call of a third party; the `source` parameter names the webhook source.

    200  accepted; an entry that makes no valid message is stored as rejected, because sending it
         again would not help
    400  not JSON; 401 unknown webhook source, or the signature does not match
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
    """Accept and discard the SDKs' telemetry about themselves."""

    def post(self, request):
        return json_response({"success": True})


class SegmentSettingsView(IngestEndpoint):
    """Serve the settings of Segment's browser SDK and Customer.io's fork; 401 unknown key."""

    integration = "Segment.io"

    def get(self, request, key):
        source = get_source_by_write_key(key)
        return set_private_caching(
            json_response(sdk_settings.segment_settings(request, source, self.integration))
        )


class RudderSettingsView(IngestEndpoint):
    """Serve the settings of RudderStack's browser SDK; 401 missing or unknown write key."""

    def get(self, request):
        return set_private_caching(
            json_response(sdk_settings.rudder_settings(authenticate_by_write_key(request)))
        )


def read_request_body(request):
    """Return the decompressed body. Raises UnreadableRequest."""
    size = int(request.META.get("CONTENT_LENGTH") or 0)
    most = settings.MAX_REQUEST_BYTES
    if size > most:
        raise UnreadableRequest(
            "too_large", f"The request is larger than {most:,} bytes.", status=413
        )
    encoding = request.META.get("HTTP_CONTENT_ENCODING", "")
    return ingest_envelope.decompress_body(request.body, encoding, limit=most)


def get_ingest_limits():
    return IngestLimits(
        settings.MAX_MESSAGE_BYTES, settings.MAX_BATCH_MESSAGES, settings.MAX_REQUEST_BYTES
    )


def batch_response(batch):
    """Return the response to a batch: the number of stored messages, and the rejected ones."""
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
