"""System checks of the settings; `manage.py check` reports each problem with its fix."""

from ipaddress import ip_network
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, register
from django.core.exceptions import ValidationError
from django.core.validators import validate_email

MIN_SECRET_KEY_CHARS = 32


@register()
def check_alert_settings(**kwargs: Any) -> list[CheckMessage]:
    return [*_check_alert_emails(), *_check_alert_webhook(), *_check_alert_limits()]


@register()
def check_allowed_networks(**kwargs: Any) -> list[CheckMessage]:
    hint = "Write networks or addresses, separated by commas: 10.0.0.0/8,192.168.1.7,fd00::/8."
    return [
        Error(
            f"PENSTOCK_ALLOWED_NETWORKS holds {each!r}, which is not a network.",
            hint=hint,
            id="penstock.E016",
        )
        for each in settings.ALLOWED_NETWORKS
        if not _is_network(each)
    ]


@register()
def check_server_settings(**kwargs: Any) -> list[CheckMessage]:
    return [*_check_secret_key(), *_check_counts(), *_check_proxies(), *_check_debug()]


def _check_secret_key() -> list[CheckMessage]:
    if len(settings.SECRET_KEY) >= MIN_SECRET_KEY_CHARS:
        return []
    message = f"SECRET_KEY has {len(settings.SECRET_KEY)} characters, so it could be guessed."
    hint = (
        f"Use {MIN_SECRET_KEY_CHARS} or more random characters: "
        "python -c 'import secrets; print(secrets.token_urlsafe(48))'"
    )
    return [Error(message, hint=hint, id="penstock.E018")]


def _check_counts() -> list[CheckMessage]:
    counts = {
        "PENSTOCK_WEB_WORKERS": settings.WEB_WORKERS,
        "PENSTOCK_WEB_THREADS": settings.WEB_THREADS,
        "PENSTOCK_CLUSTER_WORKERS": settings.CLUSTER_WORKERS,
        "PENSTOCK_LANES_PER_WORKER": settings.LANES_PER_WORKER,
        "PENSTOCK_BATCH_SIZE": settings.BATCH_SIZE,
        "PENSTOCK_MAX_REQUEST_BYTES": settings.MAX_REQUEST_BYTES,
        "PENSTOCK_MAX_MESSAGE_BYTES": settings.MAX_MESSAGE_BYTES,
        "PENSTOCK_MAX_BATCH_MESSAGES": settings.MAX_BATCH_MESSAGES,
        "PENSTOCK_ACCESS_TOKEN_TTL": settings.ACCESS_TOKEN_TTL,
        "PENSTOCK_REFRESH_TOKEN_TTL": settings.REFRESH_TOKEN_TTL,
    }
    hint = "Remove it from .env and the environment to use the default; see .env.example."
    return [
        Error(f"{name} is {value}; it must be 1 or more.", hint=hint, id="penstock.E019")
        for name, value in counts.items()
        if value < 1
    ]


def _check_proxies() -> list[CheckMessage]:
    hint = "Write addresses or networks, separated by commas: 10.0.0.7,192.168.0.0/16,fd00::/8."
    return [
        Error(
            f"PENSTOCK_TRUSTED_PROXIES holds {each!r}, which is not an address or a network.",
            hint=hint,
            id="penstock.E020",
        )
        for each in settings.TRUSTED_PROXIES
        if not _is_network(each)
    ]


def _check_debug() -> list[CheckMessage]:
    host = settings.WEB_BIND.rpartition(":")[0].strip("[]")
    if not settings.DEBUG or host in ("localhost", "127.0.0.1", "::1"):
        return []
    message = "DEBUG is on, so that error pages show code and settings to anyone on the network."
    hint = "Remove DEBUG from .env, or listen on 127.0.0.1 only."
    return [Error(message, hint=hint, id="penstock.E021")]


@register()
def check_cluster_nice(**kwargs: Any) -> list[CheckMessage]:
    if 0 <= settings.CLUSTER_NICE <= 19:
        return []
    hint = "Use 0 for the web server's priority, up to 19 for the lowest."
    return [Error("PENSTOCK_CLUSTER_NICE is not between 0 and 19.", hint=hint, id="penstock.E017")]


def _is_network(text: str) -> bool:
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _check_alert_emails() -> list[CheckMessage]:
    if not settings.ALARM_EMAILS:
        return []
    wrong = [each for each in settings.ALARM_EMAILS if not _is_email_address(each)]
    if wrong:
        message = f"PENSTOCK_ALARM_EMAILS holds {wrong[0]!r}, which is not an email address."
        return [Error(message, hint="Separate addresses by commas.", id="penstock.E010")]
    if not settings.EMAIL_URL:
        hint = "Set EMAIL_URL, such as smtp+tls://user:password@mail.example.com:587."
        return [
            Error(
                "PENSTOCK_ALARM_EMAILS is set, but EMAIL_URL is not.", hint=hint, id="penstock.E011"
            )
        ]
    return []


def _is_email_address(text: str) -> bool:
    try:
        validate_email(text)
    except ValidationError:
        return False
    return True


def _check_alert_webhook() -> list[CheckMessage]:
    url = settings.ALARM_WEBHOOK_URL
    if not url:
        return []
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        hint = "Write it with its scheme: https://hooks.example.com/penstock."
        return [Error("PENSTOCK_ALARM_WEBHOOK_URL is not a URL.", hint=hint, id="penstock.E012")]
    if not settings.ALARM_WEBHOOK_SECRET:
        hint = "Set PENSTOCK_ALARM_WEBHOOK_SECRET, so that the receiver can verify the sender."
        return [checks.Warning("The alarm webhook is not signed.", hint=hint, id="penstock.W013")]
    return []


def _check_alert_limits() -> list[CheckMessage]:
    limits = {
        "PENSTOCK_ALARM_QUEUED_MINUTES": settings.ALARM_QUEUED_MINUTES,
        "PENSTOCK_ALARM_FAILURE_PERCENT": settings.ALARM_FAILURE_PERCENT,
        "PENSTOCK_ALARM_SILENT_MINUTES": settings.ALARM_SILENT_MINUTES,
    }
    found: list[CheckMessage] = [
        Error(f"{name} is below 0.", hint="Use 0 to switch it off.", id="penstock.E014")
        for name, value in limits.items()
        if value < 0
    ]
    if settings.ALARM_FAILURE_PERCENT > 100:
        hint = "It is a percentage, so it must be at most 100."
        found.append(
            Error("PENSTOCK_ALARM_FAILURE_PERCENT is over 100.", hint=hint, id="penstock.E015")
        )
    return found
