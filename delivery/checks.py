"""System checks of the settings; `manage.py check` reports each problem with its fix."""

import difflib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parseaddr
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, register
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.validators import validate_email

MIN_SECRET_KEY_CHARS, MIN_DIFFERENT_CHARS = 32, 8
MIN_TOKEN_CHARS = 24
MAX_DAYS = 36_500  # days that a retention may last
NO_LIMIT = float("inf")


def refuse_unreadable_settings() -> None:
    """Raise ImproperlyConfigured with every problem of the settings, if one cannot be read.

    It has a placeholder, with which no process may start; some of them run no checks.
    """
    if settings.ENVIRONMENT.problems:
        found = "\n".join(str(each) for each in checks.run_checks(tags=["settings"]))
        raise ImproperlyConfigured(f"Penstock does not start with these settings:\n{found}")


@register("settings")
def check_readable(**kwargs: Any) -> list[CheckMessage]:
    hint = "Correct it in .env or the environment; .env.example explains it. Nothing starts before."
    problems = settings.ENVIRONMENT.problems.values()
    return [Error(problem, hint=hint, id="penstock.E030") for problem in problems]


@register("settings")
def check_names(**kwargs: Any) -> list[CheckMessage]:
    """Tell of variables that nothing reads, because a misspelt one leaves the default in force."""
    env = settings.ENVIRONMENT
    known = env.variables | {f"{name}_FILE" for name in env.secrets}
    return [
        checks.Warning(
            f"{name} is not a setting, so it has no effect.",
            hint=_suggest(name, known) + "Or remove it from .env and the environment.",
            id="penstock.W031",
        )
        for name in env.unknown_variables()
    ]


def _suggest(name: str, known: set[str]) -> str:
    prefix = "PENSTOCK_"  # which would make all names alike
    endings = [each.removeprefix(prefix) for each in known if each.startswith(prefix)]
    nearest = difflib.get_close_matches(name.removeprefix(prefix), endings, n=1)
    return f"Did you mean {prefix}{nearest[0]}? " if nearest else ""


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
    Range("SESSION_HOURS", 0.1, MAX_DAYS * 24),
    Range("LOGIN_LOCK_MINUTES", 0, MAX_DAYS * 1_440),
    Range("CONN_MAX_AGE", 0),
    Range("READY_FREE_MB", 0),
    Range("GIVE_UP_DAYS", 0, MAX_DAYS),
    Range("AXES_FAILURE_LIMIT", 1, variable="PENSTOCK_LOGIN_FAILURES"),
    Range("RATE_LIMIT", 0),
    Range("API_RATE_LIMIT", 0),
    Range("ALARM_QUEUED_MINUTES", 0),
    Range("ALARM_SILENT_MINUTES", 0),
    Range("ALARM_FAILURE_PERCENT", 0, 100),
    Range("CLUSTER_NICE", 0, 19),
)


@register("settings")
def check_numbers(**kwargs: Any) -> list[CheckMessage]:
    hint = "Remove it from .env and the environment to use the default; see .env.example."
    problems = filter(None, (each.problem() for each in RANGES))
    return [Error(problem, hint=hint, id="penstock.E014") for problem in problems]


@register("settings")
def check_lists(**kwargs: Any) -> list[CheckMessage]:
    networks = "Write addresses or networks, separated by commas: 10.0.0.7,192.168.0.0/16,fd00::/8."
    return [
        *_check_each("ALLOWED_NETWORKS", is_network, "a network", networks, "E016"),
        *_check_each("METRICS_NETWORKS", is_network, "an address or a network", networks, "E022"),
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


@register("settings")
def check_addresses(**kwargs: Any) -> Iterator[CheckMessage]:
    if not is_bind_address(settings.WEB_BIND):
        message = f"PENSTOCK_WEB_BIND is {settings.WEB_BIND!r}, which is not host:port."
        yield Error(message, hint="Write 127.0.0.1:8084 or [::1]:8084.", id="penstock.E033")
    if settings.SANDBOX_URL and not is_web_url(settings.SANDBOX_URL):
        message = f"PENSTOCK_SANDBOX_URL is {settings.SANDBOX_URL!r}, which is not a URL."
        yield Error(message, hint="Write http://127.0.0.1:8085.", id="penstock.E034")
    if not is_email(parseaddr(settings.DEFAULT_FROM_EMAIL)[1]):
        message = f"PENSTOCK_FROM_EMAIL is {settings.DEFAULT_FROM_EMAIL!r}, not an email address."
        yield Error(message, hint="Write penstock@example.com.", id="penstock.E035")


def is_bind_address(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return bool(host.strip("[]")) and port.isdecimal() and 0 < int(port) < 65_536


@register("settings")
def check_secret_key(**kwargs: Any) -> Iterator[CheckMessage]:
    yield from _check_key("SECRET_KEY", settings.SECRET_KEY)
    for key in settings.SECRET_KEY_FALLBACKS:
        yield from _check_key("A key of PENSTOCK_OLD_SECRET_KEYS", key)


def _check_key(name: str, key: str) -> Iterator[CheckMessage]:
    different = len(set(key))
    if len(key) < MIN_SECRET_KEY_CHARS or different < MIN_DIFFERENT_CHARS:
        yield Error(
            f"{name} is too easy to guess: it has {len(key)} characters, "
            f"{different} of them different.",
            hint=f"Use {MIN_SECRET_KEY_CHARS} or more random characters: "
            "python -c 'import secrets; print(secrets.token_urlsafe(48))'",
            id="penstock.E018",
        )


@register("settings")
def check_trusted_proxies(**kwargs: Any) -> list[CheckMessage]:
    """A network of all addresses lets every client choose the address under which it is known."""
    if not any(is_network(each) and each.endswith("/0") for each in settings.TRUSTED_PROXIES):
        return []
    message = "PENSTOCK_TRUSTED_PROXIES trusts every address, so that clients can forge their own."
    hint = "Name only your proxies: 10.0.0.7,192.168.0.0/16."
    return [Error(message, hint=hint, id="penstock.E019")]


@register("settings")
def check_metrics_token(**kwargs: Any) -> list[CheckMessage]:
    if not 0 < len(settings.METRICS_TOKEN) < MIN_TOKEN_CHARS:
        return []
    message = "PENSTOCK_METRICS_TOKEN is short, so it could be guessed."
    hint = f"Use {MIN_TOKEN_CHARS} or more random characters."
    return [Error(message, hint=hint, id="penstock.E023")]


@register("settings")
def check_https(**kwargs: Any) -> list[CheckMessage]:
    if not settings.HTTPS or settings.TRUSTED_PROXIES:
        return []
    message = (
        "PENSTOCK_HTTPS is on, but PENSTOCK_TRUSTED_PROXIES names no proxy, so that every request "
        "seems to come over HTTP and is refused or redirected."
    )
    hint = "Name the proxy that terminates TLS, such as 127.0.0.1 if it is on this machine."
    return [Error(message, hint=hint, id="penstock.E032")]


@register("settings")
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


@register("settings")
def check_alert_channels(**kwargs: Any) -> list[CheckMessage]:
    return [*_check_mail_server(), *_check_alert_webhook()]


def _check_mail_server() -> list[CheckMessage]:
    if settings.EMAIL_URL or not settings.ALARM_EMAILS:
        return []
    message = "PENSTOCK_ALARM_EMAILS is set, but EMAIL_URL is not, so that no mail can be sent."
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
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
