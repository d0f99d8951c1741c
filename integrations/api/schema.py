"""The OpenAPI schema: what drf-spectacular cannot know of our views by itself.

A view says what it answers with `@extend_schema(responses={200: Shape})`, where a shape is a DRF
serializer that is used for nothing else. The errors that a view cannot help but answer are added
here: nobody has to list them.
"""

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiParameter, inline_serializer
from rest_framework import serializers

from integrations.api.permissions import scope_of

ERRORS = {
    400: "The request cannot be read: its body is not JSON, say.",
    401: "No token, or none that is valid.",
    403: "The token lacks a scope, or its user's role a permission.",
    404: "There is no such thing.",
    409: "It cannot be done in the state that things are in.",
    412: "It was changed since you read it: read it again.",
    422: "A field or parameter is wrong; `fields` names each, with the fix.",
    429: "Too many requests: come again after Retry-After seconds.",
    500: "Our fault. Tell us the request_id.",
}


class ErrorDetail(serializers.Serializer):
    code = serializers.CharField(help_text="For programs: UPPER_SNAKE.")
    message = serializers.CharField(help_text="For people: what is wrong and what to do.")
    fields = serializers.DictField(
        child=serializers.CharField(), required=False, help_text="What is wrong with which field."
    )
    request_id = serializers.CharField(help_text="As in the header X-Request-Id and in our log.")


class Error(serializers.Serializer):
    """Every error of the management API."""

    error = ErrorDetail()


def page_of(shape):
    """Return the shape of a page of a list: {"data", "next_cursor", "has_more"}."""
    return inline_serializer(
        f"{shape.__name__}Page",
        {
            "data": shape(many=True),
            "next_cursor": serializers.CharField(
                allow_null=True, help_text="Give it as `cursor` for the next page."
            ),
            "has_more": serializers.BooleanField(),
        },
    )


PAGING = [
    OpenApiParameter(
        "limit",
        {"type": "integer", "minimum": 1, "maximum": 100, "default": 50},
        description="Rows a page.",
    ),
    OpenApiParameter("cursor", str, description="The next_cursor of the page before, unchanged."),
]


class Schema(AutoSchema):
    """Adds the scope, and the errors, to what is declared."""

    def get_tags(self):
        parts = [each for each in self.path.split("/") if each and "{" not in each]
        return [parts[2] if parts[:2] == ["v1", "admin"] and len(parts) > 2 else "ingest"]

    def get_description(self):
        scope = self._scope()
        said = super().get_description() or ""
        return f"{said}\n\nScope: `{scope}`.".strip() if scope else said

    def get_operation(self, *args, **kwargs):
        operation = super().get_operation(*args, **kwargs)
        if operation is not None and self._scope() is not None:
            error = self.resolve_serializer(Error, "response").ref
            for code in self._errors(operation):
                said = {"application/json": {"schema": error}}
                described = {"description": ERRORS[code], "content": said}
                operation["responses"].setdefault(str(code), described)
        return operation

    def _errors(self, operation):
        """Return the statuses that come of the operation's form, whatever its view does."""
        has_query = any(each["in"] == "query" for each in operation.get("parameters", ()))
        yield from (401, 403)
        if "{" in self.path:
            yield 404
        if "requestBody" in operation:
            yield 400
        if "requestBody" in operation or has_query:
            yield 422
        yield from (429, 500)

    def _scope(self):
        """Return the scope of the operation; None where the view has no scopes."""
        return scope_of(self.view, self.method) if hasattr(self.view, "scopes") else None


class BearerToken(OpenApiAuthenticationExtension):
    target_class = "integrations.api.authentication.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema):
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "An API token, or the access token of /v1/admin/auth/login.",
        }
