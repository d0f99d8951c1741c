"""Login, refresh and logout: `/v1/admin/auth`."""

from django.conf import settings
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.exceptions import APIException
from rest_framework.response import Response

from integrations.access import logins
from integrations.api import serializers
from integrations.api.endpoint import ManagementAPIView, validate_body
from integrations.api.errors import Conflict
from integrations.api.permissions import ANY_TOKEN
from integrations.api.representation import serialize_user
from integrations.api.schema import ErrorSerializer
from integrations.models import ApiToken
from integrations.roles import SCOPES, scopes_include


class LoginFailed(APIException):
    status_code = status.HTTP_401_UNAUTHORIZED

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


class LoginView(ManagementAPIView):
    """Log in with a name and password; return an access token and a refresh token.

    After repeated failures from one IP address, the name is locked for that address: 429,
    ACCOUNT_LOCKED.
    """

    authentication_classes = ()
    permission_classes = ()
    accepts_idempotency_key = False

    @extend_schema(
        request=serializers.LoginInputSerializer,
        responses={
            200: serializers.TokenPairSerializer,
            400: ErrorSerializer,
            401: ErrorSerializer,
            422: ErrorSerializer,
            429: ErrorSerializer,
        },
        auth=[],
    )
    def post(self, request):
        credentials = validate_body(request, serializers.LoginInputSerializer)
        try:
            return Response(serialize_token_pair(logins.log_in(request._request, **credentials)))
        except logins.WrongCredentials:
            message = "The username or password is wrong."
            raise LoginFailed("INVALID_CREDENTIALS", message) from None


class RefreshView(ManagementAPIView):
    """Exchange a refresh token for a new pair of tokens. It is valid once.

    A second use ends the login, so that whoever holds the newer token is logged out too.
    """

    authentication_classes = ()
    permission_classes = ()
    accepts_idempotency_key = False

    @extend_schema(
        request=serializers.RefreshInputSerializer,
        responses={
            200: serializers.TokenPairSerializer,
            400: ErrorSerializer,
            401: ErrorSerializer,
            422: ErrorSerializer,
        },
        auth=[],
    )
    def post(self, request):
        text = validate_body(request, serializers.RefreshInputSerializer)["refresh_token"]
        try:
            return Response(serialize_token_pair(logins.refresh_tokens(text, timezone.now())))
        except logins.InvalidRefreshToken:
            message = "The refresh token is unknown, expired or already used. Log in again."
            raise LoginFailed("INVALID_REFRESH_TOKEN", message) from None


class LogoutView(ManagementAPIView):
    """End the login of the access token. Its tokens are no longer accepted."""

    scopes = {"POST": ANY_TOKEN}
    accepts_idempotency_key = False

    @extend_schema(request=None, responses={204: None, 409: ErrorSerializer})
    def post(self, request):
        if isinstance(request.auth, ApiToken):
            raise Conflict("This is an API token. Revoke it with DELETE /v1/admin/tokens/ID.")
        logins.log_out(request.auth.login, timezone.now())
        return Response(status=status.HTTP_204_NO_CONTENT)


class MeView(ManagementAPIView):
    """Show the token's user, and the scopes that the token can be used for."""

    scopes = {"GET": ANY_TOKEN}

    @extend_schema(operation_id="auth_me", responses={200: serializers.MeSerializer})
    def get(self, request):
        token = request.auth
        granted = token.scopes if isinstance(token, ApiToken) else ["admin"]
        return Response(
            {
                "user": serialize_user(request.user),
                "scopes": [each for each in SCOPES if can_use_scope(each, granted, request.user)],
                "token": token.name if isinstance(token, ApiToken) else "login",
                "expires_at": token.expires_at,
            }
        )


def can_use_scope(scope, granted, user):
    """Return whether `user` can use a token with the granted scopes for this scope."""
    permission = SCOPES[scope].permission
    return scopes_include(granted, scope) and (not permission or user.has_perm(permission))


def serialize_token_pair(pair):
    return {
        "access_token": pair.access,
        "refresh_token": pair.refresh,
        "token_type": "Bearer",
        "expires_in": settings.ACCESS_TOKEN_TTL,
        "refresh_expires_in": settings.REFRESH_TOKEN_TTL,
        "user": serialize_user(pair.login.user),
    }
