"""Logging in, going on, and logging out."""

from django.conf import settings
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.exceptions import APIException
from rest_framework.response import Response

from integrations.access import logins
from integrations.api import serializers
from integrations.api.endpoint import Endpoint, given
from integrations.api.errors import Conflict
from integrations.api.permissions import ANY
from integrations.api.representation import user as presented
from integrations.api.schema import Error
from integrations.models import ApiToken
from integrations.roles import SCOPES, includes


class Unknown(APIException):
    status_code = status.HTTP_401_UNAUTHORIZED

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


class LoginView(Endpoint):
    """Log in with name and password: an access token, and one to refresh it with.

    After repeated failures from one address the name is locked there: 429, ACCOUNT_LOCKED.
    """

    authentication_classes = ()
    permission_classes = ()
    takes_keys = False

    @extend_schema(
        request=serializers.LoginInput,
        responses={200: serializers.Pair, 400: Error, 401: Error, 422: Error, 429: Error},
        auth=[],
    )
    def post(self, request):
        credentials = given(request, serializers.LoginInput)
        try:
            return Response(paired(logins.log_in(request._request, **credentials)))
        except logins.WrongCredentials:
            message = "Nobody has this name and this password."
            raise Unknown("INVALID_CREDENTIALS", message) from None


class RefreshView(Endpoint):
    """Exchange a refresh token for a new pair; it counts once.

    One that comes a second time ends the login: whoever has the other one is logged out, too.
    """

    authentication_classes = ()
    permission_classes = ()
    takes_keys = False

    @extend_schema(
        request=serializers.RefreshInput,
        responses={200: serializers.Pair, 400: Error, 401: Error, 422: Error},
        auth=[],
    )
    def post(self, request):
        text = given(request, serializers.RefreshInput)["refresh_token"]
        try:
            return Response(paired(logins.refresh(text, timezone.now())))
        except logins.RefreshRefused:
            message = "The refresh token is unknown, too old, or was used before. Log in again."
            raise Unknown("INVALID_REFRESH_TOKEN", message) from None


class LogoutView(Endpoint):
    """End the login of the access token; none of its tokens is accepted any more."""

    scopes = {"POST": ANY}
    takes_keys = False

    @extend_schema(request=None, responses={204: None, 409: Error})
    def post(self, request):
        if isinstance(request.auth, ApiToken):
            raise Conflict("This is an API token. Revoke it with DELETE /v1/admin/tokens/ID.")
        logins.log_out(request.auth.login, timezone.now())
        return Response(status=status.HTTP_204_NO_CONTENT)


class MeView(Endpoint):
    """Who the token speaks for, and what it may be used for."""

    scopes = {"GET": ANY}

    @extend_schema(operation_id="auth_me", responses={200: serializers.Me})
    def get(self, request):
        token = request.auth
        granted = token.scopes if isinstance(token, ApiToken) else ["admin"]
        return Response(
            {
                "user": presented(request.user),
                "scopes": [each for each in SCOPES if useful(each, granted, request.user)],
                "token": token.name if isinstance(token, ApiToken) else "login",
                "expires_at": token.expires_at,
            }
        )


def useful(scope, granted, user):
    """Say whether a token with these scopes can be used for this one by its user."""
    permission = SCOPES[scope].permission
    return includes(granted, scope) and (not permission or user.has_perm(permission))


def paired(pair):
    return {
        "access_token": pair.access,
        "refresh_token": pair.refresh,
        "token_type": "Bearer",
        "expires_in": settings.ACCESS_TOKEN_TTL,
        "refresh_expires_in": settings.REFRESH_TOKEN_TTL,
        "user": presented(pair.login.user),
    }
