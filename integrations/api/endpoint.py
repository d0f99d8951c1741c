"""The base class of the management API's views, and the validation of their bodies."""

from collections.abc import Mapping

from django.http import QueryDict
from rest_framework.views import APIView

from integrations.api import idempotency, lists
from integrations.api.errors import Unprocessable


class ManagementAPIView(APIView):
    """Base of the management API's views.

    scopes                   the scope that each method requires, as in permissions.py
    parameters               the query parameters of each method, each with its parser from
                             lists.py; all others are rejected
    accepts_idempotency_key  whether a POST accepts an Idempotency-Key
    query_params             the parsed query parameters of the request
    """

    scopes: dict[str, str] = {}
    parameters: dict[str, Mapping[str, lists.ParameterParser]] = {}
    accepts_idempotency_key = True
    idempotent_call = None  # the call that the Idempotency-Key identifies

    def initial(self, request, *args, **kwargs):
        super().initial(request, *args, **kwargs)
        if request.method != "OPTIONS" and hasattr(self, request.method.lower()):
            method = "GET" if request.method == "HEAD" else request.method
            self.query_params = lists.parse_query_params(
                request.query_params, self.parameters.get(method, {})
            )
        if self.accepts_idempotency_key and request.method == "POST":
            self.idempotent_call = idempotency.begin_call(request)

    def handle_exception(self, exc):
        if isinstance(exc, idempotency.RepeatedCall):
            return exc.answer
        try:
            return super().handle_exception(exc)
        except Exception:
            if self.idempotent_call:
                self.idempotent_call.delete()
            raise

    def finalize_response(self, request, response, *args, **kwargs):
        response = super().finalize_response(request, response, *args, **kwargs)
        if self.idempotent_call:
            idempotency.end_call(self.idempotent_call, response)
        response["Cache-Control"] = "no-store"
        for name, value in getattr(request, "rate_headers", {}).items():
            response[name] = value
        return response


def validate_body(request, serializer_class):
    """Return the validated body. Raises Unprocessable, which names each invalid field."""
    body = _json_object(request)
    checked = serializer_class(data=body)
    wrong = _unknown_fields(body, checked.fields)
    if not checked.is_valid() or wrong:
        raise Unprocessable({**wrong, **dict(flatten_errors(checked.errors))})
    return checked.validated_data


def read_body(request, serializer_class):
    """Return a body whose field names are known, but whose values the caller has to validate.

    Raises Unprocessable for unknown fields.
    """
    body = _json_object(request)
    if wrong := _unknown_fields(body, serializer_class().fields):
        raise Unprocessable(wrong)
    return body


def _json_object(request):
    # DRF represents an absent body as a QueryDict.
    body = {} if isinstance(request.data, QueryDict) else request.data
    if not isinstance(body, dict):
        raise Unprocessable({"body": "Must be an object: {…}."})
    return body


def _unknown_fields(body, fields):
    unknown = f"Unknown field. Known fields: {', '.join(fields)}."
    return dict.fromkeys(sorted(body.keys() - fields.keys()), unknown)


def flatten_errors(errors, prefix=""):
    """Yield (field, problem) for each of DRF's nested errors; names are joined with dots."""
    for name, problems in errors.items():
        if isinstance(problems, dict):
            yield from flatten_errors(problems, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", " ".join(str(each) for each in problems)
