"""Users and tokens, and who changed what: for those who decide about access."""

from django.http import Http404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.response import Response

from integrations.access import users
from integrations.api import representation, serializers
from integrations.api.endpoint import Endpoint, given
from integrations.api.lists import answered, flag, paged
from integrations.api.preconditions import changing, tagged
from integrations.api.schema import IF_MATCH, PAGING, Error, page_of


class UsersView(Endpoint):
    scopes = {"GET": "users:read", "POST": "users:write"}
    permissions = {"POST": "auth.add_user"}
    parameters = {"GET": paged(is_active=flag)}

    @extend_schema(
        parameters=[OpenApiParameter("is_active", bool), *PAGING],
        responses={200: page_of(serializers.User)},
    )
    def get(self, request):
        """List users, the newest first."""
        return Response(answered(users.people(), representation.user, **self.asked))

    @extend_schema(request=serializers.UserInput, responses={201: serializers.NewUser, 409: Error})
    def post(self, request):
        """Make a user, of one role or none; a password is made up where none is given."""
        wanted = given(request, serializers.UserInput)
        user, password = users.create(wanted)
        once = {} if "password" in wanted else {"password": password}
        answer = {**representation.user(user), **once}
        return Response(answer, status=status.HTTP_201_CREATED, headers=tagged(user))


class UserView(Endpoint):
    scopes = {"GET": "users:read", "PATCH": "users:write", "DELETE": "users:write"}

    @extend_schema(responses={200: serializers.User})
    def get(self, request, pk):
        """Show a user."""
        user = users.people().filter(pk=pk).first()
        if user is None:
            raise Http404(f"There is no user {pk}.")
        return Response(representation.user(user), headers=tagged(user))

    @extend_schema(
        request=serializers.UserChange,
        parameters=[IF_MATCH],
        responses={200: serializers.User, 409: Error, 412: Error},
    )
    def patch(self, request, pk):
        """Change what is given of a user. A new password ends the user's logins."""
        wanted = given(request, serializers.UserChange)
        with changing(request, users.people(), pk) as user:
            users.change(user, wanted, by=request.user)
        user = users.people().get(pk=pk)
        return Response(representation.user(user), headers=tagged(user))

    @extend_schema(parameters=[IF_MATCH], responses={204: None, 412: Error})
    def delete(self, request, pk):
        """Deactivate a user: their logins end and their tokens are revoked; the row stays."""
        with changing(request, users.people(), pk) as user:
            users.deactivate(user, by=request.user)
        return Response(status=status.HTTP_204_NO_CONTENT)
