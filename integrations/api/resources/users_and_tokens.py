"""Users and tokens, and who changed what: for those who decide about access."""

from django.http import Http404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.response import Response

from integrations.access import tokens, users
from integrations.api import representation, serializers
from integrations.api.endpoint import Endpoint, given
from integrations.api.errors import Unprocessable
from integrations.api.lists import answered, flag, moment, number, paged, text
from integrations.api.preconditions import changing, tagged
from integrations.api.schema import IF_MATCH, PAGING, Error, page_of
from integrations.models import ApiToken, AuditEntry
from integrations.roles import includes

# --- users -------------------------------------------------------------------------------------


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


# --- tokens ------------------------------------------------------------------------------------


class TokensView(Endpoint):
    scopes = {"GET": "users:read", "POST": "users:write"}
    parameters = {"GET": paged(user_id=number)}

    @extend_schema(
        parameters=[OpenApiParameter("user_id", int), *PAGING],
        responses={200: page_of(serializers.Token)},
    )
    def get(self, request):
        """List API tokens, also those that are revoked, the newest first."""
        rows = ApiToken.objects.select_related("user")
        return Response(answered(rows, representation.token, **self.asked))

    @extend_schema(request=serializers.TokenInput, responses={201: serializers.NewToken})
    def post(self, request):
        """Make a token, with no other scopes than one's own; its text is told only here."""
        wanted = given(request, serializers.TokenInput)
        owner = tokens.owner(wanted.pop("user_id", request.user.pk), by=request.user)
        check_scopes(request.auth, wanted["scopes"])
        token, told = tokens.create(owner, **wanted)
        return Response(
            {**representation.token(token), "token": told}, status=status.HTTP_201_CREATED
        )


class TokenView(Endpoint):
    scopes = {"DELETE": "users:write"}

    @extend_schema(responses={204: None})
    def delete(self, request, pk):
        """Revoke a token: it is refused from now on, and stays listed."""
        token = ApiToken.objects.select_related("user").filter(pk=pk).first()
        if token is None:
            raise Http404(f"There is no token {pk}.")
        tokens.revoke(token)
        return Response(status=status.HTTP_204_NO_CONTENT)


def check_scopes(token, scopes):
    """Raise Unprocessable for scopes that the calling token does not have itself."""
    own = token.scopes if isinstance(token, ApiToken) else ["admin"]
    above = [each for each in scopes if not includes(own, each)]
    if above:
        raise Unprocessable({"scopes": f"Your own token does not have: {', '.join(above)}."})


# --- the audit log -----------------------------------------------------------------------------


class AuditLogView(Endpoint):
    scopes = {"GET": "audit:read"}
    parameters = {
        "GET": paged(
            actor=text, action=text, object_type=text, object_id=text, since=moment, until=moment
        )
    }

    @extend_schema(
        parameters=[
            OpenApiParameter("actor", str, description="A user's name."),
            OpenApiParameter("action", str, description="installation.created, auth.login, …"),
            OpenApiParameter("object_type", str, description="installation, source, user, …"),
            OpenApiParameter("object_id", str),
            OpenApiParameter("since", OpenApiTypes.DATETIME, description="From this time on."),
            OpenApiParameter("until", OpenApiTypes.DATETIME, description="Before this time."),
            *PAGING,
        ],
        responses={200: page_of(serializers.AuditEntry)},
    )
    def get(self, request):
        """List who changed what, the newest first."""
        rows = AuditEntry.objects.all()
        return Response(answered(rows, representation.audit_entry, at="at", **self.asked))
