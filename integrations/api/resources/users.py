"""Users: `/v1/admin/users`."""

from django.core.exceptions import PermissionDenied
from django.http import Http404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.response import Response

from integrations.access import users
from integrations.api import representation, serializers
from integrations.api.endpoint import ManagementAPIView, validate_body
from integrations.api.lists import list_parameters, paginate, parse_flag
from integrations.api.preconditions import etag_header, lock_for_change
from integrations.api.schema import (
    IF_MATCH_PARAMETER,
    PAGING_PARAMETERS,
    ErrorSerializer,
    page_serializer,
)
from integrations.models import ApiToken
from integrations.roles import scopes_include, scopes_of_role


class UsersView(ManagementAPIView):
    scopes = {"GET": "users:read", "POST": "users:write"}
    permissions = {"POST": "auth.add_user"}
    parameters = {"GET": list_parameters(is_active=parse_flag)}

    @extend_schema(
        parameters=[OpenApiParameter("is_active", bool), *PAGING_PARAMETERS],
        responses={200: page_serializer(serializers.UserSerializer)},
    )
    def get(self, request):
        """List users, newest first."""
        return Response(
            paginate(users.users_with_groups(), representation.serialize_user, **self.query_params)
        )

    @extend_schema(
        request=serializers.UserInputSerializer,
        responses={201: serializers.NewUserSerializer, 409: ErrorSerializer},
    )
    def post(self, request):
        """Create a user with one role or none. A password is generated if none is given."""
        wanted = validate_body(request, serializers.UserInputSerializer)
        check_token_may_give(request.auth, wanted)
        user, password = users.create_user(wanted, by=request.user)
        once = {} if "password" in wanted else {"password": password}
        answer = {**representation.serialize_user(user), **once}
        return Response(answer, status=status.HTTP_201_CREATED, headers=etag_header(user))


def check_token_may_give(token, wanted):
    """Raise PermissionDenied for a role that may do more than the calling API token."""
    if not isinstance(token, ApiToken):
        return
    needed = scopes_of_role(wanted.get("role"))
    above = [each for each in needed if not scopes_include(token.scopes, each)]
    if above:
        raise PermissionDenied(
            f"The role {wanted['role']} may do more than your token, which lacks: "
            f"{', '.join(above)}."
        )


def check_token_may_take_over(token, wanted):
    """Raise PermissionDenied for a change that would let the token's holder log in as the user."""
    given = [name for name in ("password", "email") if name in wanted]
    if given and isinstance(token, ApiToken):
        raise PermissionDenied(
            f"An API token cannot change: {', '.join(given)}. Use the access token of a login."
        )


class UserView(ManagementAPIView):
    scopes = {"GET": "users:read", "PATCH": "users:write", "DELETE": "users:write"}

    @extend_schema(responses={200: serializers.UserSerializer})
    def get(self, request, pk):
        """Show a user."""
        user = users.users_with_groups().filter(pk=pk).first()
        if user is None:
            raise Http404(f"There is no user {pk}.")
        return Response(representation.serialize_user(user), headers=etag_header(user))

    @extend_schema(
        request=serializers.UserChangeSerializer,
        parameters=[IF_MATCH_PARAMETER],
        responses={200: serializers.UserSerializer, 409: ErrorSerializer, 412: ErrorSerializer},
    )
    def patch(self, request, pk):
        """Change the given fields of a user. A new password ends the user's logins.

        An API token cannot change a password or an email address; log in for that. To change your
        own password, send the current one as well.
        """
        wanted = validate_body(request, serializers.UserChangeSerializer)
        check_token_may_give(request.auth, wanted)
        check_token_may_take_over(request.auth, wanted)
        with lock_for_change(request, users.users_with_groups(), pk) as user:
            users.change_user(user, wanted, by=request.user)
        user = users.users_with_groups().get(pk=pk)
        return Response(representation.serialize_user(user), headers=etag_header(user))

    @extend_schema(parameters=[IF_MATCH_PARAMETER], responses={204: None, 412: ErrorSerializer})
    def delete(self, request, pk):
        """Deactivate a user: end their logins and revoke their tokens. The user stays listed."""
        with lock_for_change(request, users.users_with_groups(), pk) as user:
            users.deactivate_user(user, by=request.user)
        return Response(status=status.HTTP_204_NO_CONTENT)
