"""Bearer tokens of the management API."""

from django.utils import timezone
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed

from integrations.access import logins
from integrations.models import ApiToken


class InvalidToken(AuthenticationFailed):
    code = "INVALID_TOKEN"


class ExpiredToken(AuthenticationFailed):
    code = "EXPIRED_TOKEN"


class TokenAuthentication(BaseAuthentication):
    """Authenticate `Authorization: Bearer <token>` as the token's user.

    The token is an API token or the access token of a login.
    """

    def authenticate(self, request):
        scheme, _, text = get_authorization_header(request).decode("latin-1").partition(" ")
        if scheme.lower() != "bearer":
            return None
        now = timezone.now()
        return _authenticate_login(text.strip(), now) or _authenticate_api_token(text.strip(), now)

    def authenticate_header(self, request):
        return "Bearer"


def caller_key(token):
    """Return the key under which a caller's calls are counted. A login is one caller."""
    return f"token:{token.pk}" if isinstance(token, ApiToken) else f"login:{token.login_id}"


def _authenticate_login(text, now):
    token = logins.find_access_token(text)
    if token is None:
        return None
    if logins.has_ended(token.login):
        raise InvalidToken("The login has ended. Log in again.")
    if token.expires_at <= now:
        raise ExpiredToken("The access token has expired. Refresh it, or log in again.")
    return token.login.user, token


def _authenticate_api_token(text, now):
    token = ApiToken.objects.find(text)
    if token is None:
        raise InvalidToken(
            "The token is unknown. Use it exactly as it was shown when it was created."
        )
    if reason := token.unusable_reason(now):
        raise (InvalidToken if token.revoked_at else ExpiredToken)(reason)
    token.record_use(now)
    return token.user, token
