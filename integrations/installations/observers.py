"""Notifies registered observers when an installation has changed.

`integrations` does not import `delivery`, whose lanes have to continue with the new settings or
blueprint. An observer restarts them, so that callers that change an installation do not have to.
"""

from collections.abc import Callable

from integrations.models import Installation

Observer = Callable[[Installation], None]
_observers: list[Observer] = []


def subscribe(observer: Observer) -> None:
    """Call the observer whenever the settings or the blueprint of an installation change.

    It is called within the transaction of the change, and only once if it subscribes repeatedly.
    """
    if observer not in _observers:
        _observers.append(observer)


def notify_changed(installation: Installation) -> None:
    """Call all observers. Call this within the transaction of the change."""
    for observer in _observers:
        observer(installation)
