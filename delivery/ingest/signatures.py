"""Verifies request signatures. Pure.

Each check raises NotAllowed, and compares in constant time.
"""

import hmac
from base64 import b64encode
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from delivery.ingest.errors import NotAllowed

SIGNATURE_TOLERANCE = timedelta(minutes=5)  # most that a signed time may differ from the server's

Headers = Mapping[str, str]  # case-insensitive


def check_penstock(headers: Headers, body: bytes, secret: str, now: datetime) -> None:
    """Check `X-Signature: sha256=HEX` over `X-Timestamp` (unix ms), a dot and the body as sent."""
    timestamp = headers.get("X-Timestamp", "")
    _require_recent_time(timestamp, 1_000, now)
    expected = _hmac(secret, timestamp.encode() + b"." + body).hex()
    _require_signature(f"sha256={expected}", [headers.get("X-Signature", "")])


def check_stripe(headers: Headers, body: bytes, secret: str, now: datetime) -> None:
    """Check `Stripe-Signature: t=SECONDS,v1=HEX`; it has two v1 while a secret is rotated.

    Source: https://docs.stripe.com/webhooks#verify-manually (seen 2026-11).
    """
    parts = [part.partition("=") for part in headers.get("Stripe-Signature", "").split(",")]
    timestamp = next((value for name, _, value in parts if name.strip() == "t"), "")
    _require_recent_time(timestamp, 1, now)
    expected = _hmac(secret, timestamp.encode() + b"." + body).hex()
    _require_signature(expected, [value for name, _, value in parts if name.strip() == "v1"])


def check_shopify(headers: Headers, body: bytes, secret: str) -> None:
    """Check `X-Shopify-Hmac-Sha256`, base64, over the body; no time is signed.

    Source: https://shopify.dev/docs/apps/build/webhooks/subscribe/https (seen 2026-11).
    """
    _require_signature(_base64(secret, body), [headers.get("X-Shopify-Hmac-Sha256", "")])


def check_hubspot(
    headers: Headers, body: bytes, secret: str, now: datetime, *, method: str, url: str
) -> None:
    """Check `X-HubSpot-Signature-v3`, base64, over method, URL, body and time (unix ms).

    Source: https://developers.hubspot.com/docs/api/webhooks/validating-requests (seen 2026-11).
    """
    timestamp = headers.get("X-HubSpot-Request-Timestamp", "")
    _require_recent_time(timestamp, 1_000, now)
    signed = method.encode() + url.encode() + body + timestamp.encode()
    _require_signature(_base64(secret, signed), [headers.get("X-HubSpot-Signature-v3", "")])


def check_hmac(headers: Headers, body: bytes, secret: str, *, header: str) -> None:
    """Check a header with the body's HMAC-SHA256 in hex, optionally prefixed with `sha256=`."""
    given = headers.get(header, "").strip().removeprefix("sha256=").lower()
    _require_signature(_hmac(secret, body).hex(), [given])


def _require_recent_time(text: str, unit: int, now: datetime) -> None:
    """Raise NotAllowed unless a signed time is recent. `unit` is the number of units a second."""
    try:
        at = datetime.fromtimestamp(int(text) / unit, UTC)
    except (ValueError, OverflowError, OSError):
        raise NotAllowed(
            "invalid_signature", "The signed timestamp is missing or invalid."
        ) from None
    if abs(now - at) > SIGNATURE_TOLERANCE:
        raise NotAllowed(
            "expired_signature",
            f"The signed time is more than {SIGNATURE_TOLERANCE.seconds // 60} minutes "
            "from the server's time.",
        )


def _require_signature(expected: str, given: Iterable[str]) -> None:
    if not any(hmac.compare_digest(expected.encode(), each.encode()) for each in given):
        raise NotAllowed(
            "invalid_signature", "The signature does not match the body and the secret."
        )


def _hmac(secret: str, data: bytes) -> bytes:
    return hmac.digest(secret.encode(), data, sha256)


def _base64(secret: str, data: bytes) -> str:
    return b64encode(_hmac(secret, data)).decode()
