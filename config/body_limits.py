"""The largest request body of each URL. Anyone can send one, also without an account."""

from functools import lru_cache

from django.conf import settings

API_BODY_BYTES = 2_000_000  # of the management API and the admin's forms
LOGIN_BODY_BYTES = 10_000
LOGIN_PATHS = frozenset({"/admin/login/", "/v1/admin/auth/login", "/v1/admin/auth/refresh"})


def max_body_bytes(path: str) -> int:
    """Return the largest number of bytes, as sent, that a request to this path may carry."""
    if is_ingest_path(path):
        return int(settings.MAX_REQUEST_BYTES)
    return LOGIN_BODY_BYTES if path in LOGIN_PATHS else API_BODY_BYTES


def is_ingest_path(path: str) -> bool:
    """Return whether SDKs send messages to this path."""
    return path in _ingest_paths()


@lru_cache(maxsize=1)
def _ingest_paths() -> frozenset[str]:
    from delivery.ingest.urls import views_by_path  # apps are not loaded at module import

    return frozenset(views_by_path)
