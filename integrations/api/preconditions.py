"""ETag and If-Match: who changes what somebody else changed meanwhile is told so."""

import re
from contextlib import contextmanager
from hashlib import sha256

from django.db import transaction
from django.http import Http404
from rest_framework import status
from rest_framework.exceptions import APIException

from integrations.api.errors import Unprocessable

ETAG_PATTERN = re.compile(r'(?:W/)?"([^"]*)"|(\*)')
IF_MATCH_PATTERN = re.compile(r'^(\*|(W/)?"[^"]*"(, ?(W/)?"[^"]*")*)$')


class PreconditionFailed(APIException):
    """It is not any more as the caller knows it."""

    status_code = status.HTTP_412_PRECONDITION_FAILED


def etag(row):
    """Return the tag of a row as it is stored, with what it is linked to: another one after every
    change."""
    values = [getattr(row, field.attname) for field in row._meta.concrete_fields]
    for field in row._meta.many_to_many:
        values.append(sorted(each.pk for each in getattr(row, field.name).all()))
    return f'"{sha256(repr(values).encode()).hexdigest()[:32]}"'


def etag_header(row):
    """Return the header that goes with the row's answer."""
    return {"ETag": etag(row)}


@contextmanager
def lock_for_change(request, rows, pk):
    """Lock the row of that id for a change, in a transaction, and give it.

    Raises Http404; and Changed when the request has an If-Match that is not the row's tag.
    """
    with transaction.atomic():
        row = rows.select_for_update(of=("self",)).filter(pk=pk).first()
        if row is None:
            raise Http404(f"There is no {rows.model._meta.verbose_name} {pk}.")
        check_if_match(request, row)
        yield row


def check_if_match(request, row):
    """Raise Changed when the request has an If-Match that is not the row's tag, Unprocessable when
    that is no tag at all."""
    asked = request.headers.get("If-Match")
    if asked is None:
        return
    if not IF_MATCH_PATTERN.fullmatch(asked):
        raise Unprocessable({"If-Match": 'Give the ETag that you read, with its "quotes", or *.'})
    tags = {star or f'"{tag}"' for tag, star in ETAG_PATTERN.findall(asked)}
    if not tags & {"*", etag(row)}:
        raise PreconditionFailed(
            "It was changed since you read it. Read it again, and change that."
        )
