"""The error page of DEBUG, without secrets."""

from typing import Any
from urllib.parse import unquote, urlsplit

from django.conf import settings
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from django.views.debug import ExceptionReporter

MASK = "***"
SECRET_SETTINGS = (
    "SECRET_KEY",
    "SECRET_KEY_FALLBACKS",
    "SECRETS_KEYS",
    "ALARM_WEBHOOK_SECRET",
)
URL_SETTINGS = ("DATABASE_URL", "BROKER_URL", "EMAIL_URL", "ALARM_WEBHOOK_URL")


class MaskingExceptionReporter(ExceptionReporter):
    """Masks the values of secret settings wherever the page shows them.

    Django masks settings by name, but shows every local variable and URLs with their passwords.
    """

    def get_traceback_html(self) -> SafeString:
        return mask_secrets(super().get_traceback_html())

    def get_traceback_text(self) -> SafeString:
        return mask_secrets(super().get_traceback_text())


def mask_secrets(text: str) -> SafeString:
    for secret in sorted(set(secret_values()), key=len, reverse=True):  # one may contain another
        text = text.replace(escape(secret), MASK).replace(secret, MASK)
    return mark_safe(text)  # noqa: S308  (Django has escaped it)


def secret_values() -> list[str]:
    """Return the values of all secret settings, and the secrets in URLs, as written and decoded."""
    values: list[Any] = []
    for name in SECRET_SETTINGS:
        value = getattr(settings, name)
        values += value if isinstance(value, list) else [value]
    for name in URL_SETTINGS:
        values += _secrets_in(getattr(settings, name))
    return [each for value in values if value for each in (value, unquote(value))]


def _secrets_in(url: str) -> list[str]:
    """Return the password of a URL, and the path and query of a webhook, which often hold one."""
    try:
        parts = urlsplit(url)
        password = parts.password
    except ValueError:
        return [url]
    if parts.scheme not in ("http", "https"):
        return [password or ""]
    return [password or "", parts.path.strip("/"), parts.query]
