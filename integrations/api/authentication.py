"""Bearer tokens of the management API."""

from django.utils import timezone
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed

from integrations.models import ApiToken


class TokenAuthentication(BaseAuthentication):
    """Accept `Authorization: Bearer <token>`; the token's user is the request's user."""

    def authenticate(self, request):
        scheme, _, token = get_authorization_header(request).decode("latin-1").partition(" ")
        if scheme.lower() != "bearer":
            return None
        now = timezone.now()
        found = ApiToken.objects.valid(token.strip(), now)
        if found is None:
            raise AuthenticationFailed("The token is unknown, expired or revoked.")
        found.note_use(now)
        return found.user, found

    def authenticate_header(self, request):
        return "Bearer"
