"""Authenticates the sending source by its write key or its signature."""

import time
from base64 import b64decode
from contextlib import suppress

from django.utils import timezone

from delivery.ingest import envelope as ingest_envelope
from delivery.ingest import signatures
from delivery.ingest.errors import NotAllowed
from integrations.models import Source, WebhookSource, WriteKey

MAX_SOURCE_ID = 2**63 - 1
SOURCE_CACHE_SECONDS = (
    5.0  # how long a process caches a source; the lookup is a sixth of an ingest request's cost
)

INVALID_WRITE_KEY = (
    "invalid_write_key",
    "The write key is missing, unknown or revoked. Send it as the user name of Basic "
    'authentication, as a Bearer token, or as "writeKey" in the body.',
)

# write key -> (source, monotonic time at which it expires); unknown keys are not cached
_cached_sources = {}


def find_source_by_head(request):
    """Return the source that the request's head names, or None. Raises NotAllowed.

    A signed request may name it in `X-Source`. Otherwise the write key does: first the header's,
    then the query's. Jitsu masks the key in the body, so the head must win.
    """
    if is_signed(request):
        source = request.META.get("HTTP_X_SOURCE", "")
        if not source.isascii():
            refuse_signature("X-Source can hold only ASCII characters. Send the source's id.")
        if source:
            return _find_source_by_id_or_name(source) or refuse_signature()
    for key in _head_write_keys(request):
        return get_source_by_write_key(key)
    return None


def check_body_may_have_key(body):
    """Raise NotAllowed if no known write key is in the body, which costs far less than parsing."""
    for key in ingest_envelope.find_possible_write_keys(body):
        with suppress(NotAllowed):
            get_source_by_write_key(key)
            return
    raise NotAllowed(*INVALID_WRITE_KEY)


def find_source_by_body(envelope):
    """Return the source of the first write key in the body. Raises NotAllowed."""
    return get_source_by_write_key(next(ingest_envelope.iter_envelope_write_keys(envelope), ""))


def authenticate_by_write_key(request):
    """Return the source of the head's write key. Raises NotAllowed."""
    return get_source_by_write_key(next(_head_write_keys(request), ""))


def get_source_by_write_key(key):
    """Return the source of a write key, at most SOURCE_CACHE_SECONDS old. Raises NotAllowed."""
    source, until = _cached_sources.get(key, (None, 0.0))
    if time.monotonic() < until:
        return source
    source = None if "\x00" in key else _find_source_by_write_key(key)  # PostgreSQL has no NUL
    if source is None:
        raise NotAllowed(*INVALID_WRITE_KEY)
    _cached_sources[key] = (source, time.monotonic() + SOURCE_CACHE_SECONDS)
    return source


def _find_source_by_write_key(key):
    sources = Source.objects.in_use()
    further = WriteKey.objects.valid(timezone.now()).filter(key=key).values("source")
    return sources.filter(write_key=key).first() or sources.filter(pk__in=further).first()


def clear_source_cache():
    """Forget all cached sources."""
    _cached_sources.clear()


def check_signature(request, source, now):
    """Raise NotAllowed if the request is signed, and the signature is not the source's."""
    if not is_signed(request):
        return
    if not source.signing_secret:
        refuse_signature()
    signatures.check_penstock(request.headers, request.body, source.signing_secret, now)


def is_signed(request):
    return bool(request.META.get("HTTP_X_SIGNATURE"))


def refuse_signature(
    message="X-Source must be the id or name of a source with a signing secret.",
):
    raise NotAllowed("invalid_signature", message)


def _find_source_by_id_or_name(text):
    if text.isdecimal() and int(text) <= MAX_SOURCE_ID:
        return Source.objects.in_use().filter(pk=int(text)).first()
    # the server reads headers as Latin-1
    return (
        Source.objects.in_use()
        .filter(name=text.encode("latin-1").decode("utf-8", "replace"))
        .first()
    )


def get_webhook_source(key):
    """Return the webhook source with this key. Raises NotAllowed."""
    try:
        known = WebhookSource.objects.filter(source__archived_at=None).select_related("source")
        return known.get(key="" if "\x00" in key else key)
    except WebhookSource.DoesNotExist:
        message = "No webhook source has this key. The URL must end in ?source=wh_…"
        raise NotAllowed("unknown_webhook", message) from None


def _head_write_keys(request):
    yield from _header_keys(request)
    if "writeKey" in request.GET:
        yield request.GET["writeKey"]


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
