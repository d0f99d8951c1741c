"""Logins to the management API: a short-lived access token, and a refresh token.

A refresh token can be used once. A second use means that it was stolen, so the whole family of
tokens is revoked.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth import authenticate, get_user_model
from django.contrib.auth.signals import user_logged_in
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from integrations.access import audit
from integrations.access.login_limits import network_of
from integrations.models import Login, LoginToken, digest, new_token
from integrations.rate_limits import token_bucket
from integrations.request_context import current_caller

ACCESS, REFRESH = LoginToken.Kind.ACCESS, LoginToken.Kind.REFRESH
FAILURES_PER_HOUR = 20  # of one network that the audit log records
TOKEN_PREFIXES = {ACCESS: "psa", REFRESH: "psr"}


class WrongCredentials(Exception):
    """No user has this name and password."""


class InvalidRefreshToken(Exception):
    """The refresh token is unknown, expired, or already used."""


@dataclass(frozen=True, slots=True)
class TokenPair:
    """The two tokens of a login, shown once."""

    login: Login
    access: str
    refresh: str


def log_in(request: HttpRequest, username: str, password: str) -> TokenPair:
    """Return the tokens of a new login. Raises WrongCredentials.

    A user who fails too often is locked out: the request is marked, and its middleware responds.
    """
    name = _resolve_username(username)
    user = authenticate(request=request, username=name, password=password)
    if user is None:
        raise WrongCredentials
    with transaction.atomic():
        user_logged_in.send(type(user), request=request, user=user)
        login = Login.objects.create(
            user=user,
            ip_address=current_caller().ip_address,
            user_agent=current_caller().user_agent[:300],
            session_hash=user.get_session_auth_hash(),
        )
        return _issue_tokens(login, timezone.now())


def record_login(sender: Any, user: Any, **_: Any) -> None:
    """Record a login, to the API or to the admin."""
    audit.record("auth.login", user, by=user)


def record_failed_login(sender: Any, credentials: Any, request: Any = None, **_: Any) -> None:
    """Record a failed login, except while the user is locked out, to avoid a row per attempt.

    From one network, few are recorded in an hour, because anyone could fill the audit log.
    """
    if getattr(request, "axes_locked_out", False):
        return
    network = network_of(current_caller().ip_address or "")
    recorded = token_bucket.take_tokens(
        f"login_failed:{network}", 1, rate=FAILURES_PER_HOUR / 3_600, size=FAILURES_PER_HOUR
    )
    if not recorded.wait:
        audit.record("auth.login_failed", str(credentials.get("username", ""))[:150])


def refresh_tokens(text: str, now: datetime) -> TokenPair:
    """Return a new pair of tokens and use up the refresh token. Raises InvalidRefreshToken."""
    token = _find_token(text, REFRESH)
    if token is None or token.expires_at <= now or has_ended(token.login):
        raise InvalidRefreshToken
    with transaction.atomic():
        if LoginToken.objects.filter(pk=token.pk, used_at=None).update(used_at=now):
            return _issue_tokens(token.login, now)
        log_out(token.login, now)
        audit.record("auth.refresh_reused", token.login.user, by=token.login.user)
    raise InvalidRefreshToken


def record_logout(sender: Any, user: Any, **_: Any) -> None:
    """Record a logout from the admin."""
    if user is not None:
        audit.record("auth.logout", user, by=user)


def log_out(login: Login, now: datetime) -> None:
    """End a login: its tokens are no longer accepted."""
    if Login.objects.filter(pk=login.pk, revoked_at=None).update(revoked_at=now):
        audit.record("auth.logout", login.user, by=login.user)


def log_out_everywhere(user: Any, now: datetime) -> None:
    Login.objects.filter(user=user, revoked_at=None).update(revoked_at=now)


def has_ended(login: Login) -> bool:
    """Return whether a login has ended: revoked, its user deactivated, or the password changed."""
    same = constant_time_compare(login.session_hash, login.user.get_session_auth_hash())
    return login.revoked_at is not None or not login.user.is_active or not same


def find_access_token(text: str) -> LoginToken | None:
    """Return the access token with this text, valid or not, or None."""
    return _find_token(text, ACCESS) if text.startswith(TOKEN_PREFIXES[ACCESS]) else None


def _find_token(text: str, kind: str) -> LoginToken | None:
    known = LoginToken.objects.filter(digest=digest(text), kind=kind)
    return known.select_related("login__user").first()


def _issue_tokens(login: Login, now: datetime) -> TokenPair:
    texts = {kind: new_token(prefix) for kind, prefix in TOKEN_PREFIXES.items()}
    lives = {ACCESS: settings.ACCESS_TOKEN_TTL, REFRESH: settings.REFRESH_TOKEN_TTL}
    LoginToken.objects.bulk_create(
        LoginToken(
            login=login,
            kind=kind,
            digest=digest(text),
            expires_at=now + timedelta(seconds=lives[kind]),
        )
        for kind, text in texts.items()
    )
    return TokenPair(login, texts[ACCESS], texts[REFRESH])


def _resolve_username(text: str) -> str:
    """Return the name of the only user with this e-mail address; otherwise the given text."""
    if "@" not in text:
        return text
    users = get_user_model().objects.filter(email__iexact=text)
    names = list(users.values_list("username", flat=True)[:2])
    return names[0] if len(names) == 1 else text
