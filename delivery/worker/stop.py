"""Tells a worker that its cluster is stopping."""

import os


def is_stopping() -> bool:
    """Say whether the cluster was asked to stop: then a worker ends after the request at hand."""
    path = os.environ.get("PENSTOCK_STOP_FILE")
    return bool(path and os.path.exists(path))
