"""URLs that SDKs send to: Segment's, and those of the SDKs with a compatible API.

Each URL works with and without a trailing slash. None is redirected, because a 301 turns every
client's POST into a GET without a body, which loses the events.
"""

from collections.abc import Callable
from functools import partial

from django.http import HttpResponse
from django.urls import URLPattern, path

from delivery.ingest.views import (
    IgnoredView,
    IngestView,
    PixelView,
    RudderSettingsView,
    SegmentSettingsView,
    WebhookView,
)
from integrations.messages import MESSAGE_TYPES

CUSTOMER_IO_INTEGRATION = "Customer.io Data Pipelines"
BATCH_PATHS = ("v1/batch", "v1/import", "v1/b", "beacon/v1/batch")  # the last two: browsers


def _message_paths(kind: str) -> tuple[str, ...]:
    """Return `/v1/track`, `/v1/t` (Segment's browser SDK), `/api/s/track` and s2s (Jitsu)."""
    return (f"v1/{kind}", f"v1/{kind[0]}", f"api/s/{kind}", f"api/s/s2s/{kind}")


def _with_and_without_slash(
    address: str, view: Callable[..., HttpResponse], **arguments: str
) -> list[URLPattern]:
    return [path(address, view, arguments), path(f"{address}/", view, arguments)]


urlpatterns = [
    *(
        each
        for address in BATCH_PATHS
        for each in _with_and_without_slash(address, IngestView.as_view())
    ),
    *(
        each
        for kind in MESSAGE_TYPES
        for address in _message_paths(kind)
        for each in _with_and_without_slash(address, IngestView.as_view(implied_type=kind))
    ),
    *(
        each
        for kind in MESSAGE_TYPES
        for each in _with_and_without_slash(f"v1/pixel/{kind}", PixelView.as_view(), kind=kind)
    ),
    *_with_and_without_slash("v1/events", IngestView.as_view(is_single=True)),
    *_with_and_without_slash("v1/webhook", WebhookView.as_view()),
    *_with_and_without_slash("v1/m", IgnoredView.as_view()),
    *_with_and_without_slash("v1/projects/<str:key>/settings", SegmentSettingsView.as_view()),
    # Customer.io's SDK starts only from settings under its own name, with cdnURL set to HOST/cio.
    *_with_and_without_slash(
        "cio/v1/projects/<str:key>/settings",
        SegmentSettingsView.as_view(integration=CUSTOMER_IO_INTEGRATION),
    ),
    *_with_and_without_slash("sourceConfig", RudderSettingsView.as_view()),
]

# The view of each URL without parameters.
views_by_path: dict[str, Callable[..., HttpResponse]] = {
    f"/{each.pattern}": partial(each.callback, **each.default_args)
    for each in urlpatterns
    if not each.pattern.converters
}
