"""Distinguishes a message that the vendor fails on from a vendor that fails on everything."""

from integrations.errors import VendorFailed


class Suspects:
    """Deliveries on which the vendor failed although they were sent alone.

    While nothing else is accepted, either the message or the vendor may be at fault. A request
    that succeeds shows that the vendor is up, so the suspects are at fault. A second suspect
    without a success in between shows that the vendor is.
    """

    def __init__(self) -> None:
        self._errors: dict[int, VendorFailed] = {}
        self._is_vendor_up = False

    def add(self, delivery_id: int, error: VendorFailed) -> None:
        """Suspect a delivery. Raises the error when another one is suspected already."""
        if self._errors:
            raise error
        self._errors[delivery_id] = error

    def convict(self) -> dict[int, VendorFailed]:
        """Return the suspects after a success; they are to be set aside."""
        self._is_vendor_up = True
        return self._taken()

    def conclude(self) -> dict[int, VendorFailed]:
        """Return the suspects at the end of a batch.

        Raises the error of the first when nothing succeeded: the vendor is at fault.
        """
        if not self._is_vendor_up:
            for error in self._errors.values():
                raise error
        return self._taken()

    def _taken(self) -> dict[int, VendorFailed]:
        errors, self._errors = self._errors, {}
        return errors
