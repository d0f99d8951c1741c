"""The OpenAPI schema: adds what drf-spectacular cannot derive from the views.

A view declares its responses with `@extend_schema(responses={200: ShapeSerializer})`, where the
serializer is used for nothing else. Errors that follow from the form of a call are added here, so
that no view has to list them.
"""

from functools import cache

from drf_spectacular.drainage import get_override
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, inline_serializer
from rest_framework import serializers

from integrations.api import preconditions
from integrations.api.errors import ERROR_CODES
from integrations.api.permissions import required_scope

ERROR_DESCRIPTIONS = {
    400: "The request cannot be read, for example because its body is not JSON.",
    401: "The token is missing or invalid.",
    403: "The token lacks a scope, or its user's role lacks a permission.",
    404: "Not found.",
    409: "The current state does not allow this.",
    412: "It has changed since you read it. Read it again.",
    422: "A field or parameter is invalid; `fields` has the fix for each.",
    429: "Too many requests. Retry after Retry-After seconds.",
    500: "Internal error. Retry; if it happens again, report the request_id.",
}


class ErrorDetailSerializer(serializers.Serializer):
    code = serializers.CharField(help_text="For programs, in UPPER_SNAKE_CASE.")
    message = serializers.CharField(help_text="For people: the problem and the fix.")
    fields = serializers.DictField(
        child=serializers.CharField(),
        required=False,
        help_text="The problem with each invalid value, by name.",
    )
    request_id = serializers.CharField(
        help_text="The same as in the X-Request-Id header and in Penstock's log."
    )


class ErrorSerializer(serializers.Serializer):
    """Every error of the management API."""

    error = ErrorDetailSerializer()


@cache
def page_serializer(serializer_class):
    """Return the serializer of a page: {"data", "next_cursor", "has_more"}."""
    own = serializer_class.__name__.removesuffix("Serializer")
    return inline_serializer(
        f"{get_override(serializer_class, 'component_name', own)}Page",
        {
            "data": serializer_class(many=True),
            "next_cursor": serializers.CharField(
                allow_null=True, help_text="Pass it as `cursor` to get the next page."
            ),
            "has_more": serializers.BooleanField(),
        },
    )


PAGING_PARAMETERS = [
    OpenApiParameter(
        "limit",
        {"type": "integer", "minimum": 1, "maximum": 100, "default": 50},
        description="Rows per page.",
    ),
    OpenApiParameter("cursor", str, description="The next_cursor of the previous page, unchanged."),
]


ID_SCHEMA = {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}
RECEIVED_RANGE_PARAMETERS = [
    OpenApiParameter("since", OpenApiTypes.DATETIME, description="Received at or after this time."),
    OpenApiParameter("until", OpenApiTypes.DATETIME, description="Received before this time."),
]
IF_MATCH_PARAMETER = OpenApiParameter(
    "If-Match",
    {"type": "string", "pattern": preconditions.IF_MATCH_PATTERN.pattern},
    OpenApiParameter.HEADER,
    description="The ETag that you read. The call fails with 412 if it has changed.",
)
IDEMPOTENCY_KEY_PARAMETER = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    OpenApiParameter.HEADER,
    description="A string of your choice, new for each call. A call that is repeated within 24 "
    "hours is executed once, and its first response is returned again.",
)


class Schema(AutoSchema):
    """Adds scopes and errors to the declared operations."""

    def get_tags(self):
        parts = [each for each in self.path.split("/") if each and "{" not in each]
        return [parts[2] if parts[:2] == ["v1", "admin"] and len(parts) > 2 else "ingest"]

    def get_operation_id(self):
        name = super().get_operation_id()
        is_list = self.method == "GET" and not self.path.endswith("}")
        return f"{name.removesuffix('_retrieve')}_list" if is_list else name

    def get_summary(self):
        description = super().get_description() or ""
        return super().get_summary() or description.partition("\n")[0].rstrip(".")

    def get_description(self):
        scope = self._scope()
        description = super().get_description() or ""
        return f"{description}\n\nScope: `{scope}`.".strip() if scope else description

    def map_parsers(self):
        return ["application/json"]  # AnyJSONParser ignores the Content-Type

    def get_override_parameters(self):
        own = super().get_override_parameters()
        return [*own, IDEMPOTENCY_KEY_PARAMETER] if self._accepts_idempotency_key() else own

    def _accepts_idempotency_key(self):
        return self.method == "POST" and getattr(self.view, "accepts_idempotency_key", False)

    def get_operation(self, *args, **kwargs):
        operation = super().get_operation(*args, **kwargs)
        if operation is not None and hasattr(self.view, "scopes"):
            error = self.resolve_serializer(ErrorSerializer, "response").ref
            for code in self._errors(operation):
                content_by_type = {"application/json": {"schema": error}}
                response = {"description": ERROR_DESCRIPTIONS[code], "content": content_by_type}
                operation["responses"].setdefault(str(code), response)
            for code in set(map(str, ERROR_CODES)) & operation["responses"].keys():
                content = operation["responses"][code]["content"]["application/json"]
                content["example"] = error_example(int(code))
        return operation

    def _errors(self, operation):
        """Yield the statuses that follow from the operation's form, whatever its view does."""
        if self.view.permission_classes:
            yield from (401, 403)
        if "{" in self.path:
            yield 404
        if "requestBody" in operation:
            yield 400
        if self._accepts_idempotency_key():
            yield 409
        yield from (422, 429, 500)  # 422 at least for an unknown parameter

    def _scope(self):
        """Return the scope of the operation; None if the view has no scopes."""
        asked = hasattr(self.view, "scopes") and self.view.permission_classes
        return required_scope(self.view, self.method) if asked else None


def error_example(code):
    """Return the body of an error response with this status."""
    error = {"code": ERROR_CODES[code], "message": ERROR_DESCRIPTIONS[code]}
    fields = {"fields": {"name": "This field is required."}} if code == 422 else {}
    return {"error": {**error, **fields, "request_id": "5f0c5bd6a2f5c0cd1f6a7d7e"}}


class BearerTokenScheme(OpenApiAuthenticationExtension):
    target_class = "integrations.api.authentication.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema):
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "An API token, or the access token from /v1/admin/auth/login.",
        }


def filter_endpoints(endpoints):
    """Keep the documented endpoints: the management API, and views with `in_schema`."""
    return [
        each for each in endpoints if each[0].startswith("/v1/admin/") or _is_in_schema(each[3])
    ]


def _is_in_schema(callback):
    return getattr(callback.cls, "in_schema", False)


def forbid_unknown_fields(result, **_):
    """Declare that request bodies take no unknown fields, because the API rejects them."""
    for path in result["paths"].values():
        for operation in path.values():
            schema = _request_schema(operation)
            if "$ref" in schema:
                name = schema["$ref"].rpartition("/")[2]
                result["components"]["schemas"][name].setdefault("additionalProperties", False)
    return result


def _request_schema(operation):
    content = operation.get("requestBody", {}).get("content", {})
    return next(iter(content.values()), {}).get("schema", {})
