"""ETag and If-Match: reject a change to a row that has changed since the caller read it."""

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
    """The row has changed since the caller read it."""

    status_code = status.HTTP_412_PRECONDITION_FAILED


def etag(row):
    """Return the ETag of a row: a hash of its columns and links, different after every change."""
    values = [getattr(row, field.attname) for field in row._meta.concrete_fields]
    for field in row._meta.many_to_many:
        values.append(sorted(each.pk for each in getattr(row, field.name).all()))
    return f'"{sha256(repr(values).encode()).hexdigest()[:32]}"'


def etag_header(row):
    """Return the ETag header of a response that shows the row."""
    return {"ETag": etag(row)}


@contextmanager
def lock_for_change(request, rows, pk):
    """Lock a row in a transaction and yield it, so that it can be changed.

    Raises Http404, and what check_if_match() raises.
    """
    with transaction.atomic():
        row = rows.select_for_update(of=("self",)).filter(pk=pk).first()
        if row is None:
            raise Http404(f"There is no {rows.model._meta.verbose_name} {pk}.")
        check_if_match(request, row)
        yield row


def check_if_match(request, row):
    """Check a request's If-Match, if it has one.

    Raises PreconditionFailed if it does not match the row, and Unprocessable if it is malformed.
    """
    asked = request.headers.get("If-Match")
    if asked is None:
        return
    if not IF_MATCH_PATTERN.fullmatch(asked):
        raise Unprocessable(
            {"If-Match": 'Send the ETag that you read, including its "quotes", or *.'}
        )
    tags = {star or f'"{tag}"' for tag, star in ETAG_PATTERN.findall(asked)}
    if not tags & {"*", etag(row)}:
        raise PreconditionFailed(
            "It has changed since you read it. Read it again, then repeat your change."
        )
