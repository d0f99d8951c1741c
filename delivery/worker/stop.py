"""Tells a worker that its cluster is stopping."""

import os


def is_stopping() -> bool:
    """Return whether the cluster is stopping; if so, a worker ends after its current request."""
    path = os.environ.get("PENSTOCK_STOP_FILE")
    return bool(path and os.path.exists(path))
