"""Bearer tokens of the management API."""

from django.utils import timezone
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed

from integrations.models import ApiToken


class InvalidToken(AuthenticationFailed):
    code = "INVALID_TOKEN"


class ExpiredToken(AuthenticationFailed):
    code = "EXPIRED_TOKEN"


class TokenAuthentication(BaseAuthentication):
    """Accept `Authorization: Bearer <token>`; the token's user is the request's user."""

    def authenticate(self, request):
        scheme, _, token = get_authorization_header(request).decode("latin-1").partition(" ")
        if scheme.lower() != "bearer":
            return None
        now = timezone.now()
        found = ApiToken.objects.known(token.strip())
        if found is None:
            raise InvalidToken("The token is unknown. Use it as it was shown when it was made.")
        if reason := found.ended(now):
            raise (InvalidToken if found.revoked_at else ExpiredToken)(reason)
        found.note_use(now)
        return found.user, found

    def authenticate_header(self, request):
        return "Bearer"
