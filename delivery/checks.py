"""System checks of the settings; `manage.py check` reports each problem with its fix.

A value of the wrong type does not come this far: config/environment.py refuses it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, register
from django.core.exceptions import ValidationError
from django.core.validators import validate_email

MIN_SECRET_KEY_CHARS, MIN_DIFFERENT_CHARS = 32, 8
MAX_DAYS = 36_500  # days that a retention may last
NO_LIMIT = float("inf")


@dataclass(frozen=True, slots=True)
class Range:
    """The numbers that a setting may have, both ends included."""

    setting: str  # its name in django.conf.settings
    low: float
    high: float = NO_LIMIT
    variable: str = ""  # its name in .env, where that is not PENSTOCK_ and the setting's

    def problem(self) -> str | None:
        value = getattr(settings, self.setting)
        if self.low <= value <= self.high:
            return None
        limits = f"at least {self.low:,}" + (f", at most {self.high:,}" * (self.high < NO_LIMIT))
        return f"{self.variable or f'PENSTOCK_{self.setting}'} is {value:,}; it must be {limits}."


RANGES = (
    *(
        Range(name, 1)
        for name in (
            "WEB_WORKERS",
            "WEB_THREADS",
            "CLUSTER_WORKERS",
            "LANES_PER_WORKER",
            "BATCH_SIZE",
            "MAX_REQUEST_BYTES",
            "MAX_MESSAGE_BYTES",
            "MAX_BATCH_MESSAGES",
            "ACCESS_TOKEN_TTL",
            "REFRESH_TOKEN_TTL",
        )
    ),
    *(
        Range(f"KEEP_{name}_DAYS", 0, MAX_DAYS)
        for name in ("EVENTS", "DELIVERIES", "ATTEMPTS", "ATTEMPT_BODIES", "AUDIT")
    ),
    Range("GIVE_UP_DAYS", 0, MAX_DAYS),
    Range("AXES_FAILURE_LIMIT", 1, variable="PENSTOCK_LOGIN_FAILURES"),
    Range("RATE_LIMIT", 0),
    Range("API_RATE_LIMIT", 0),
    Range("ALARM_QUEUED_MINUTES", 0),
    Range("ALARM_SILENT_MINUTES", 0),
    Range("ALARM_FAILURE_PERCENT", 0, 100),
    Range("CLUSTER_NICE", 0, 19),
)


@register()
def check_numbers(**kwargs: Any) -> list[CheckMessage]:
    hint = "Remove it from .env and the environment to use the default; see .env.example."
    problems = filter(None, (each.problem() for each in RANGES))
    return [Error(problem, hint=hint, id="penstock.E014") for problem in problems]


@register()
def check_lists(**kwargs: Any) -> list[CheckMessage]:
    networks = "Write addresses or networks, separated by commas: 10.0.0.7,192.168.0.0/16,fd00::/8."
    return [
        *_check_each("ALLOWED_NETWORKS", is_network, "a network", networks, "E016"),
        *_check_each("TRUSTED_PROXIES", is_network, "an address or a network", networks, "E020"),
        *_check_each(
            "ALARM_EMAILS", is_email, "an email address", "Write ops@example.com.", "E010"
        ),
    ]


def _check_each(
    setting: str, is_valid: Callable[[str], bool], expected: str, hint: str, number: str
) -> Iterator[CheckMessage]:
    for each in getattr(settings, setting):
        if not is_valid(each):
            message = f"PENSTOCK_{setting} holds {each!r}, which is not {expected}."
            yield Error(message, hint=hint, id=f"penstock.{number}")


def is_network(text: str) -> bool:
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def is_email(text: str) -> bool:
    try:
        validate_email(text)
    except ValidationError:
        return False
    return True


@register()
def check_secret_key(**kwargs: Any) -> list[CheckMessage]:
    key = settings.SECRET_KEY
    if len(key) >= MIN_SECRET_KEY_CHARS and len(set(key)) >= MIN_DIFFERENT_CHARS:
        return []
    message = (
        f"SECRET_KEY is too easy to guess: it has {len(key)} characters, "
        f"{len(set(key))} of them different."
    )
    hint = (
        f"Use {MIN_SECRET_KEY_CHARS} or more random characters: "
        "python -c 'import secrets; print(secrets.token_urlsafe(48))'"
    )
    return [Error(message, hint=hint, id="penstock.E018")]


@register()
def check_trusted_proxies(**kwargs: Any) -> list[CheckMessage]:
    """A network of all addresses lets every client choose the address under which it is known."""
    if not any(is_network(each) and each.endswith("/0") for each in settings.TRUSTED_PROXIES):
        return []
    message = "PENSTOCK_TRUSTED_PROXIES trusts every address, so that clients can forge their own."
    hint = "Name only your proxies: 10.0.0.7,192.168.0.0/16."
    return [Error(message, hint=hint, id="penstock.E019")]


@register()
def check_debug(**kwargs: Any) -> list[CheckMessage]:
    hosts = [settings.WEB_BIND.rpartition(":")[0], *settings.ALLOWED_HOSTS]
    public = [each for each in hosts if not is_loopback(each)]
    if not settings.DEBUG or not public:
        return []
    message = f"DEBUG is on and {public[0]!r} is served: anyone there can see code in error pages."
    hint = "Remove DEBUG from .env, or use only localhost in PENSTOCK_WEB_BIND and ALLOWED_HOSTS."
    return [Error(message, hint=hint, id="penstock.E021")]


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


@register()
def check_alert_channels(**kwargs: Any) -> list[CheckMessage]:
    return [*_check_mail_server(), *_check_alert_webhook()]


def _check_mail_server() -> list[CheckMessage]:
    if settings.EMAIL_URL or not settings.ALARM_EMAILS:
        return []
    message = "PENSTOCK_ALARM_EMAILS is set, but EMAIL_URL is not."
    hint = "Set EMAIL_URL, such as smtp+tls://user:password@mail.example.com:587."
    return [Error(message, hint=hint, id="penstock.E011")]


def _check_alert_webhook() -> list[CheckMessage]:
    url = settings.ALARM_WEBHOOK_URL
    if not url:
        return []
    if not is_web_url(url):
        hint = "Write it with its scheme: https://hooks.example.com/penstock."
        return [Error("PENSTOCK_ALARM_WEBHOOK_URL is not a URL.", hint=hint, id="penstock.E012")]
    if not settings.ALARM_WEBHOOK_SECRET:
        hint = "Set PENSTOCK_ALARM_WEBHOOK_SECRET, so that the receiver can verify the sender."
        return [checks.Warning("The alarm webhook is not signed.", hint=hint, id="penstock.W013")]
    return []


def is_web_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)
