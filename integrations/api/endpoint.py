"""What every view of the management API has in common."""

from collections.abc import Mapping

from django.http import QueryDict
from rest_framework.views import APIView

from integrations.api import idempotency, lists
from integrations.api.errors import Unprocessable


class Endpoint(APIView):
    """A view that says for each of its methods which scope it needs, as in permissions.py, and
    which parameters it takes, each with its reader of lists.py; other parameters are refused.

    Its POSTs take an Idempotency-Key, unless takes_keys says no.

    asked  the parameters that were given, read
    """

    scopes: dict[str, str] = {}
    parameters: dict[str, Mapping[str, lists.Reader]] = {}
    takes_keys = True
    call = None  # the call that an Idempotency-Key stands for

    def initial(self, request, *args, **kwargs):
        super().initial(request, *args, **kwargs)
        if request.method != "OPTIONS" and hasattr(self, request.method.lower()):
            method = "GET" if request.method == "HEAD" else request.method
            self.asked = lists.asked(request.query_params, self.parameters.get(method, {}))
        if self.takes_keys and request.method == "POST":
            self.call = idempotency.begin(request)

    def handle_exception(self, exc):
        if isinstance(exc, idempotency.Replayed):
            return exc.answer
        try:
            return super().handle_exception(exc)
        except Exception:
            if self.call:
                self.call.delete()
            raise

    def finalize_response(self, request, response, *args, **kwargs):
        response = super().finalize_response(request, response, *args, **kwargs)
        if self.call:
            idempotency.end(self.call, response)
        response["Cache-Control"] = "no-store"
        for name, value in getattr(request, "rate_headers", {}).items():
            response[name] = value
        return response


def given(request, shape):
    """Return what a body holds, checked by its shape. Raises Unprocessable, by field."""
    body = _body(request)
    checked = shape(data=body)
    wrong = _strange(body, checked.fields)
    if not checked.is_valid() or wrong:
        raise Unprocessable({**wrong, **dict(named(checked.errors))})
    return checked.validated_data


def unchecked(request, shape):
    """Return a body as it came, where a function of ours checks what its fields hold. Raises
    Unprocessable for fields that the shape does not have."""
    body = _body(request)
    if wrong := _strange(body, shape().fields):
        raise Unprocessable(wrong)
    return body


def _body(request):
    body = {} if isinstance(request.data, QueryDict) else request.data  # what no body is to DRF
    if not isinstance(body, dict):
        raise Unprocessable({"body": "Must be an object: {…}."})
    return body


def _strange(body, fields):
    unknown = f"Not a field; there are: {', '.join(fields)}."
    return dict.fromkeys(sorted(body.keys() - fields.keys()), unknown)


def named(errors, prefix=""):
    """Yield (field, what is wrong with it) of DRF's nested errors."""
    for name, problems in errors.items():
        if isinstance(problems, dict):
            yield from named(problems, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", " ".join(str(each) for each in problems)
