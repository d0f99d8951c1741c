"""Which source sends: the write key, wherever its SDK puts it."""

from base64 import b64decode

from delivery.ingest import parsing
from delivery.ingest.errors import NotAllowed
from integrations.models import Source


def authenticated(request, envelope=None):
    """Return the source of the first write key found. Raises NotAllowed.

    The order of the places is that of the SDKs: header, query, body. Jitsu masks the key in the
    body, so that one must not be believed before its header.
    """
    for key in write_keys(request, envelope):
        return source_of(key)
    return source_of("")


def source_of(key):
    """Return the source of a write key. Raises NotAllowed."""
    try:
        return Source.objects.get(write_key="" if "\x00" in key else key)  # PostgreSQL takes no NUL
    except Source.DoesNotExist:
        raise NotAllowed(
            "invalid_write_key",
            "The write key is missing or unknown. Give it as the user name of Basic "
            'authentication, as a Bearer token, or as "writeKey" in the body.',
        ) from None


def write_keys(request, envelope=None):
    yield from _header_keys(request)
    if "writeKey" in request.GET:
        yield request.GET["writeKey"]
    if envelope is not None:
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
