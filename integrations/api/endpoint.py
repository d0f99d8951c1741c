"""What every view of the management API has in common."""

from collections.abc import Mapping

from django.http import QueryDict
from rest_framework.views import APIView

from integrations.api import idempotency, lists
from integrations.api.errors import Unprocessable


class ManagementAPIView(APIView):
    """A view that says for each of its methods which scope it needs, as in permissions.py, and
    which parameters it takes, each with its reader of lists.py; other parameters are refused.

    Its POSTs take an Idempotency-Key, unless accepts_idempotency_key says no.

    query_params  the parameters that were given, read
    """

    scopes: dict[str, str] = {}
    parameters: dict[str, Mapping[str, lists.ParameterParser]] = {}
    accepts_idempotency_key = True
    idempotent_call = None  # the call that an Idempotency-Key stands for

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
    """Return what a body holds, checked by its shape. Raises Unprocessable, by field."""
    body = _json_object(request)
    checked = serializer_class(data=body)
    wrong = _unknown_fields(body, checked.fields)
    if not checked.is_valid() or wrong:
        raise Unprocessable({**wrong, **dict(flatten_errors(checked.errors))})
    return checked.validated_data


def read_body(request, serializer_class):
    """Return a body as it came, where a function of ours checks what its fields hold. Raises
    Unprocessable for fields that the shape does not have."""
    body = _json_object(request)
    if wrong := _unknown_fields(body, serializer_class().fields):
        raise Unprocessable(wrong)
    return body


def _json_object(request):
    body = {} if isinstance(request.data, QueryDict) else request.data  # what no body is to DRF
    if not isinstance(body, dict):
        raise Unprocessable({"body": "Must be an object: {…}."})
    return body


def _unknown_fields(body, fields):
    unknown = f"Not a field; there are: {', '.join(fields)}."
    return dict.fromkeys(sorted(body.keys() - fields.keys()), unknown)


def flatten_errors(errors, prefix=""):
    """Yield (field, what is wrong with it) of DRF's nested errors."""
    for name, problems in errors.items():
        if isinstance(problems, dict):
            yield from flatten_errors(problems, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", " ".join(str(each) for each in problems)
