"""Notifies whoever registered here when an installation has changed.

`integrations` does not know `delivery`, whose lanes have to continue with the new settings or
blueprint. Callers that change an installation therefore need not remember to restart anything.
"""

from collections.abc import Callable

from integrations.models import Installation

Observer = Callable[[Installation], None]
_observers: list[Observer] = []


def subscribe(observer: Observer) -> None:
    """Call the observer whenever the settings or the blueprint of an installation change.

    It is called within the transaction of the change, once however often it subscribes.
    """
    if observer not in _observers:
        _observers.append(observer)


def notify_changed(installation: Installation) -> None:
    """Call all observers. To be called within the transaction of the change."""
    for observer in _observers:
        observer(installation)
