"""Error responses: `{"error": {"code", "message", "fields"?, "request_id"}}`."""

import logging
import sys
from http import HTTPStatus
from inspect import unwrap

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views import defaults
from rest_framework import exceptions, status
from rest_framework.response import Response
from rest_framework.views import exception_handler as rest_framework_handler

from integrations.installations.install import InvalidInstallation, NameTaken
from integrations.request_context import current_caller

logger = logging.getLogger(__name__)

ERROR_CODES = {
    400: "BAD_REQUEST",
    401: "INVALID_TOKEN",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    409: "CONFLICT",
    412: "PRECONDITION_FAILED",
    413: "TOO_LARGE",
    422: "VALIDATION_FAILED",
    429: "RATE_LIMITED",
    500: "INTERNAL_ERROR",
    503: "UNAVAILABLE",
}
DATABASE_AWAY = "The database cannot be reached. Retry the call."
DATABASE_RETRY_SECONDS = 5
KEPT_HEADERS = ("WWW-Authenticate", "Retry-After", "Allow")


class Unprocessable(exceptions.APIException):
    """The request is well-formed but invalid; `fields` has the fix for each invalid field."""

    status_code = status.HTTP_422_UNPROCESSABLE_ENTITY

    def __init__(self, fields):
        super().__init__("Some values are invalid. See `fields`.")
        self.fields = fields


class Conflict(exceptions.APIException):
    status_code = status.HTTP_409_CONFLICT


def exception_handler(error, context):
    """Return the response to an exception, or None if unexpected: server_error answers those."""
    if isinstance(error, OperationalError | InterfaceError):
        logger.error("The database cannot be reached: %s", error)
        return Response(
            error_body(ERROR_CODES[503], DATABASE_AWAY),
            status=503,
            headers={"Retry-After": str(DATABASE_RETRY_SECONDS)},
        )
    error = _as_api_exception(error)
    response = rest_framework_handler(error, context)
    if response is None:
        return None
    code = getattr(error, "code", None) or ERROR_CODES.get(response.status_code, "ERROR")
    return Response(
        error_body(code, _message(error), getattr(error, "fields", None)),
        status=response.status_code,
        headers={name: value for name, value in response.items() if name in KEPT_HEADERS},
    )


def _as_api_exception(error):
    """Translate an exception of the project into one that DRF knows."""
    if isinstance(error, InvalidInstallation):
        return Unprocessable(error.fields)
    if isinstance(error, NameTaken):
        return Conflict(str(error))
    if isinstance(error, ValidationError):
        problems = ValidationError(error).error_dict
        if any(each.code == "unique" for some in problems.values() for each in some):
            return Conflict(" ".join(error.messages))
        return Unprocessable({name: " ".join(texts) for name, texts in error.message_dict.items()})
    return error


def _message(error):
    if isinstance(error, exceptions.NotAuthenticated):
        return "Send an API token in the header Authorization: Bearer …"
    if isinstance(error, exceptions.Throttled):
        return f"More than {settings.API_RATE_LIMIT} calls a minute. Retry in {error.wait} s."
    message = str(error.detail if hasattr(error, "detail") else error)
    if isinstance(error, Http404):
        return message or "Not found."
    return message


def error_body(code, message, fields=None):
    """Return the body of an error response."""
    error = {"code": code, "message": message, **({"fields": fields} if fields else {})}
    return {"error": {**error, "request_id": current_caller().request_id}}


def too_large(request: HttpRequest, limit: int) -> HttpResponse:
    """Return the response to a body of more than `limit` bytes."""
    message = f"The body is larger than {limit:,} bytes."
    if not request.path.startswith("/v1/"):
        return HttpResponse(message, content_type="text/plain", status=413)
    return JsonResponse(error_body(ERROR_CODES[413], message), status=413)


def https_required(message: str) -> HttpResponse:
    """Return the response to a call that came over HTTP."""
    return JsonResponse(error_body("HTTPS_REQUIRED", message), status=403)


# --- Django's error handlers, which config/urls.py names ---------------------------------------


def _json_error_handler(page, status_code, message):
    """Return a handler that responds with JSON under /v1/, and with a page elsewhere."""

    def handler(request, *args, **kwargs):
        if not request.path.startswith("/v1/"):
            return page(request, *args, **kwargs)
        return JsonResponse(
            error_body(ERROR_CODES[status_code], message), status=HTTPStatus(status_code)
        )

    return handler


def _admin_page(title, default_page):
    """Return a handler that shows an error in the look of the admin, and Django's page elsewhere.

    Only the admin has visitors. A page with the look costs queries, which any robot could cause.
    """

    def handler(request, exception):
        answer = default_page(request, exception)
        if not request.path.startswith("/admin/"):
            return answer
        reason = exception.args[0] if exception.args else ""
        context = {
            **admin.site.each_context(request),
            "title": title,
            "reason": reason if isinstance(reason, str) else "",  # otherwise Django's own data
        }
        return render(request, "admin/error.html", context, status=answer.status_code)

    return handler


# Unwrapped, because their decorator reads the form again, which may be what has failed.
bad_request = _json_error_handler(unwrap(defaults.bad_request), 400, "The request cannot be read.")
permission_denied = _json_error_handler(
    _admin_page("You may not see or do this", defaults.permission_denied), 403, "Not allowed."
)
not_found = _json_error_handler(
    _admin_page("There is no such page", defaults.page_not_found),
    404,
    "There is nothing at this URL.",
)
internal_error = _json_error_handler(
    unwrap(defaults.server_error),
    500,
    "Internal error. Retry; if it happens again, report the request_id.",
)


def server_error(request, *args, **kwargs):
    """Respond to an exception: with 503 if the database is away, which is no fault of the code."""
    if not isinstance(sys.exc_info()[1], OperationalError | InterfaceError):
        return internal_error(request, *args, **kwargs)
    if request.path.startswith("/v1/"):
        answer = JsonResponse(error_body(ERROR_CODES[503], DATABASE_AWAY), status=503)
    else:
        answer = HttpResponse(DATABASE_AWAY, content_type="text/plain", status=503)
    answer["Retry-After"] = str(DATABASE_RETRY_SECONDS)
    return answer
