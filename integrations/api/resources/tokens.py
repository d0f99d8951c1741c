"""API tokens: `/v1/admin/tokens`."""

from django.http import Http404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.response import Response

from integrations.access import tokens
from integrations.api import representation, serializers
from integrations.api.endpoint import ManagementAPIView, validate_body
from integrations.api.errors import Unprocessable
from integrations.api.lists import list_parameters, paginate, parse_id
from integrations.api.schema import PAGING_PARAMETERS, page_serializer
from integrations.models import ApiToken
from integrations.roles import scopes_include


class TokensView(ManagementAPIView):
    scopes = {"GET": "users:read", "POST": "users:write"}
    parameters = {"GET": list_parameters(user_id=parse_id)}

    @extend_schema(
        parameters=[OpenApiParameter("user_id", int), *PAGING_PARAMETERS],
        responses={200: page_serializer(serializers.TokenSerializer)},
    )
    def get(self, request):
        """List API tokens, including revoked ones, newest first."""
        rows = ApiToken.objects.select_related("user")
        return Response(paginate(rows, representation.serialize_token, **self.query_params))

    @extend_schema(
        request=serializers.TokenInputSerializer, responses={201: serializers.NewTokenSerializer}
    )
    def post(self, request):
        """Create a token with scopes that your own token has. It is returned only once."""
        wanted = validate_body(request, serializers.TokenInputSerializer)
        owner = tokens.get_token_owner(wanted.pop("user_id", request.user.pk), by=request.user)
        check_scopes(request.auth, wanted["scopes"])
        token, text = tokens.create_token(owner, **wanted)
        return Response(
            {**representation.serialize_token(token), "token": text}, status=status.HTTP_201_CREATED
        )


class TokenView(ManagementAPIView):
    scopes = {"DELETE": "users:write"}

    @extend_schema(responses={204: None})
    def delete(self, request, pk):
        """Revoke a token. It is rejected from now on, and stays listed."""
        token = ApiToken.objects.select_related("user").filter(pk=pk).first()
        if token is None:
            raise Http404(f"There is no token {pk}.")
        tokens.revoke_token(token, by=request.user)
        return Response(status=status.HTTP_204_NO_CONTENT)


def check_scopes(token, scopes):
    """Raise Unprocessable for scopes that the calling token does not have."""
    own = token.scopes if isinstance(token, ApiToken) else ["admin"]
    above = [each for each in scopes if not scopes_include(own, each)]
    if above:
        raise Unprocessable({"scopes": f"Your own token does not have: {', '.join(above)}."})
