"""The one shape of an error: `{"error": {"code", "message", "fields"?}}`."""

from django.http import Http404
from rest_framework import exceptions, status
from rest_framework.response import Response
from rest_framework.views import exception_handler as rest_framework_handler

from integrations.installing import InvalidInstallation, NameTaken

CODES = {
    400: "BAD_REQUEST",
    401: "INVALID_TOKEN",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    409: "CONFLICT",
    422: "VALIDATION_FAILED",
    429: "RATE_LIMITED",
}


class Unprocessable(exceptions.APIException):
    """The request is well-formed, and wrong; `fields` names each field and the fix."""

    status_code = status.HTTP_422_UNPROCESSABLE_ENTITY

    def __init__(self, fields):
        super().__init__("Check the fields named.")
        self.fields = fields


class Conflict(exceptions.APIException):
    status_code = status.HTTP_409_CONFLICT


def exception_handler(error, context):
    """Translate what the views raise; what nobody expected stays a 500."""
    if isinstance(error, InvalidInstallation):
        error = Unprocessable(error.fields)
    elif isinstance(error, NameTaken):
        error = Conflict(str(error))
    response = rest_framework_handler(error, context)
    if response is None:
        return None
    return Response(
        {"error": _described(error, response.status_code)},
        status=response.status_code,
        headers={k: v for k, v in response.items() if k in ("WWW-Authenticate", "Retry-After")},
    )


def _described(error, status_code):
    message = str(error.detail if hasattr(error, "detail") else error)
    if isinstance(error, exceptions.NotAuthenticated):
        message = "Give an API token: Authorization: Bearer …"
    if isinstance(error, Http404):
        message = message or "There is nothing here."
    fields = getattr(error, "fields", None)
    described = {"code": CODES.get(status_code, "ERROR"), "message": message}
    return {**described, "fields": fields} if fields else described
