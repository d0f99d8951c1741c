"""The OpenAPI schema: what drf-spectacular cannot know of our views by itself.

A view says what it answers with `@extend_schema(responses={200: Shape})`, where a shape is a DRF
serializer that is used for nothing else. The errors that a view cannot help but answer are added
here: nobody has to list them.
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


class ErrorDetailSerializer(serializers.Serializer):
    code = serializers.CharField(help_text="For programs: UPPER_SNAKE.")
    message = serializers.CharField(help_text="For people: what is wrong and what to do.")
    fields = serializers.DictField(
        child=serializers.CharField(), required=False, help_text="What is wrong with which field."
    )
    request_id = serializers.CharField(help_text="As in the header X-Request-Id and in our log.")


class ErrorSerializer(serializers.Serializer):
    """Every error of the management API."""

    error = ErrorDetailSerializer()


@cache
def page_serializer(serializer_class):
    """Return the shape of a page of a list: {"data", "next_cursor", "has_more"}."""
    own = serializer_class.__name__.removesuffix("Serializer")
    return inline_serializer(
        f"{get_override(serializer_class, 'component_name', own)}Page",
        {
            "data": serializer_class(many=True),
            "next_cursor": serializers.CharField(
                allow_null=True, help_text="Give it as `cursor` for the next page."
            ),
            "has_more": serializers.BooleanField(),
        },
    )


PAGING_PARAMETERS = [
    OpenApiParameter(
        "limit",
        {"type": "integer", "minimum": 1, "maximum": 100, "default": 50},
        description="Rows a page.",
    ),
    OpenApiParameter("cursor", str, description="The next_cursor of the page before, unchanged."),
]


ID_SCHEMA = {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}
RECEIVED_RANGE_PARAMETERS = [
    OpenApiParameter("since", OpenApiTypes.DATETIME, description="Received from this time on."),
    OpenApiParameter("until", OpenApiTypes.DATETIME, description="Received before this time."),
]
IF_MATCH_PARAMETER = OpenApiParameter(
    "If-Match",
    {"type": "string", "pattern": preconditions.IF_MATCH_PATTERN.pattern},
    OpenApiParameter.HEADER,
    description="The ETag that you read: 412 when it was changed since.",
)
IDEMPOTENCY_KEY_PARAMETER = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    OpenApiParameter.HEADER,
    description="A text of yours, new for each call: one that comes again within 24 hours is "
    "answered as the first time, and done once.",
)


class Schema(AutoSchema):
    """Adds the scope, and the errors, to what is declared."""

    def get_tags(self):
        parts = [each for each in self.path.split("/") if each and "{" not in each]
        return [parts[2] if parts[:2] == ["v1", "admin"] and len(parts) > 2 else "ingest"]

    def get_operation_id(self):
        found = super().get_operation_id()
        is_list = self.method == "GET" and not self.path.endswith("}")
        return f"{found.removesuffix('_retrieve')}_list" if is_list else found

    def get_summary(self):
        said = super().get_description() or ""
        return super().get_summary() or said.partition("\n")[0].rstrip(".")

    def get_description(self):
        scope = self._scope()
        said = super().get_description() or ""
        return f"{said}\n\nScope: `{scope}`.".strip() if scope else said

    def map_parsers(self):
        return ["application/json"]  # what ours takes it for, whatever is said

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
                said = {"application/json": {"schema": error}}
                described = {"description": ERROR_DESCRIPTIONS[code], "content": said}
                operation["responses"].setdefault(str(code), described)
            for code in set(map(str, ERROR_CODES)) & operation["responses"].keys():
                content = operation["responses"][code]["content"]["application/json"]
                content["example"] = error_example(int(code))
        return operation

    def _errors(self, operation):
        """Return the statuses that come of the operation's form, whatever its view does."""
        if self.view.permission_classes:
            yield from (401, 403)
        if "{" in self.path:
            yield 404
        if "requestBody" in operation:
            yield 400
        if self._accepts_idempotency_key():
            yield 409
        yield from (422, 429, 500)  # 422 for a parameter that there is not, at least

    def _scope(self):
        """Return the scope of the operation; None where the view has no scopes."""
        asked = hasattr(self.view, "scopes") and self.view.permission_classes
        return required_scope(self.view, self.method) if asked else None


def error_example(code):
    """Return an error of that status, as it is answered."""
    said = {"code": ERROR_CODES[code], "message": ERROR_DESCRIPTIONS[code]}
    fields = {"fields": {"name": "This field is required."}} if code == 422 else {}
    return {"error": {**said, **fields, "request_id": "5f0c5bd6a2f5c0cd1f6a7d7e"}}


class BearerTokenScheme(OpenApiAuthenticationExtension):
    target_class = "integrations.api.authentication.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema):
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "An API token, or the access token of /v1/admin/auth/login.",
        }


def filter_endpoints(endpoints):
    """Keep what is documented: the management API, and what says so of itself."""
    return [
        each for each in endpoints if each[0].startswith("/v1/admin/") or _is_in_schema(each[3])
    ]


def _is_in_schema(callback):
    return getattr(callback.cls, "in_schema", False)


def forbid_unknown_fields(result, **_):
    """Say of every body that it takes no other fields than those named: others are refused."""
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
