"""The error page of DEBUG, without passwords."""

from typing import Any
from urllib.parse import urlsplit

from django.views.debug import SafeExceptionReporterFilter


class MaskingReporterFilter(SafeExceptionReporterFilter):
    """Masks the passwords in URLs too, such as BROKER_URL's; Django knows only names."""

    def cleanse_setting(self, key: str | int, value: Any) -> Any:
        cleansed = super().cleanse_setting(key, value)
        return mask_url_password(cleansed) if isinstance(cleansed, str) else cleansed


def mask_url_password(text: str) -> str:
    try:
        password = urlsplit(text).password
    except ValueError:
        return text
    return text.replace(f":{password}@", ":***@") if password else text
