"""Idempotency-Key: a repeated POST is executed once, and its first response is returned again.

The response is kept for a day, so that a client that lost it can get it by repeating the call. It
is sealed, because it may contain a secret that is shown only once. Only successful responses are
kept; a failed call can be corrected and sent again with the same key.
"""

import json
import re
from hashlib import sha256

from django.db import IntegrityError, transaction
from django.utils import timezone
from rest_framework import status
from rest_framework.exceptions import APIException
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response

from integrations.access.expiry import IDEMPOTENT_ANSWER_TTL
from integrations.api.authentication import caller_key
from integrations.api.errors import Conflict, Unprocessable
from integrations.encryption import SecretsUnreadable, reveal, seal
from integrations.models import IdempotentCall

IDEMPOTENCY_KEY_PATTERN = re.compile(r"[\x21-\x7e]{1,255}")
STORED_HEADERS = ("ETag",)  # headers that are stored with a response


class RepeatedCall(APIException):
    """The call was executed before; `answer` is its response."""

    status_code = status.HTTP_200_OK

    def __init__(self, answer):
        super().__init__()
        self.answer = answer


class KeyReused(Unprocessable):
    code = "IDEMPOTENCY_KEY_REUSED"


class KeyInUse(Conflict):
    code = "IDEMPOTENCY_KEY_IN_USE"


def begin_call(request):
    """Return the call that the request's key identifies, or None if it has no key.

    Raises RepeatedCall if the call was executed before, KeyReused if the key belongs to another
    call, KeyInUse if the first call is in progress, and Unprocessable if the key is malformed.
    """
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not IDEMPOTENCY_KEY_PATTERN.fullmatch(key):
        raise Unprocessable({"Idempotency-Key": "Must be 1 to 255 visible ASCII characters."})
    known = {"caller": caller_key(request.auth), "key": key}
    IdempotentCall.objects.filter(**known, at__lt=timezone.now() - IDEMPOTENT_ANSWER_TTL).delete()
    try:
        with transaction.atomic():
            return IdempotentCall.objects.create(**known, fingerprint=_fingerprint(request))
    except IntegrityError:
        raise _duplicate_error(IdempotentCall.objects.filter(**known).first(), request) from None


def end_call(call, response):
    """Store the response of a successful call; free the key of a failed one."""
    if not status.is_success(response.status_code):
        call.delete()
        return
    text = JSONRenderer().render(response.data).decode()
    kept = {name: response[name] for name in STORED_HEADERS if name in response}
    call.sealed_answer = seal({"body": text, "headers": json.dumps(kept)})
    call.status = response.status_code
    call.save(update_fields=["status", "sealed_answer"])


def _duplicate_error(call, request):
    """Return the exception to raise for a key that already exists."""
    if call is not None and call.fingerprint != _fingerprint(request):
        reason = "This key was used for another call. Use a new key for each."
        return KeyReused({"Idempotency-Key": reason})
    if call is None or call.status is None:
        return KeyInUse(
            "The first call with this Idempotency-Key is in progress, or was interrupted. Retry in "
            "a moment; if this persists, check whether the call took effect, then use a new key."
        )
    return RepeatedCall(_stored_response(call))


def _stored_response(call):
    try:
        kept = reveal(call.sealed_answer)
    except SecretsUnreadable:
        raise Conflict("The call was executed, but its response can no longer be read.") from None
    headers = {**json.loads(kept["headers"]), "Idempotent-Replayed": "true"}
    return Response(json.loads(kept["body"]), status=call.status, headers=headers)


def _fingerprint(request):
    whole = f"{request.method} {request.get_full_path()}\n".encode() + request._request.body
    return sha256(whole).hexdigest()
