"""Keeps vendors' rate limits with token buckets that all processes share.

A bucket holds at most `limit.items` tokens and refills evenly within `limit.seconds`. It is a
database row, so that it survives restarts and applies across processes; a bucket that was unused
for `limit.seconds` is full and may be deleted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from django.db import transaction
from django.db.models import F

from delivery import bulk
from delivery.models import Bucket
from integrations.destination import Allowance, Limit

FORGET_AFTER = timedelta(hours=1)  # longer than any limit's seconds


@dataclass(frozen=True, slots=True)
class LimitUse:
    """How much of a limit is used now; None for a limit that each user has separately."""

    limit: Limit
    used: int | None

    @property
    def percent(self) -> int:
        return round(100 * (self.used or 0) / self.limit.items)


def limit_use(limits: Sequence[Limit], now: datetime) -> list[LimitUse]:
    """Return how much of each limit is used up."""
    keys = [bucket_key(each, "") for each in limits]
    rows = {row.key: row for row in Bucket.objects.filter(key__in=keys)}
    return [
        LimitUse(
            each, None if each.per_person else round(each.items - _tokens(each, rows.get(key), now))
        )
        for each, key in zip(limits, keys, strict=True)
    ]


def take_tokens(limit: Limit, wanted: Mapping[str, int], now: datetime) -> dict[str, float]:
    """Take the wanted tokens for each person; return the seconds to wait for those without enough.

    wanted  person → number of items; for a limit of the whole account the only key is ""

    A person without enough tokens takes none and has to wait; the others are not affected. A
    request for more tokens than the bucket can hold is granted when it is full, and leaves a debt.
    """
    keys = {person: bucket_key(limit, person) for person in wanted}
    with transaction.atomic():
        rows = Bucket.objects.select_for_update().filter(key__in=keys.values())
        known = {row.key: row for row in rows}
        left, waits = {}, {}
        for person, number in wanted.items():
            tokens = _tokens(limit, known.get(keys[person]), now)
            missing = min(number, limit.items) - tokens
            if missing > 1e-6:
                waits[person] = missing * limit.seconds / limit.items
            else:
                left[keys[person]] = tokens - number
        _write(left, known, now)
    return waits


def bucket_key(limit: Limit, person: str) -> str:
    """Return the bucket's key. User ids are hashed, because they can have any length."""
    own = f":{sha256(person.encode()).hexdigest()}" if limit.per_person else ""
    return f"{limit.account[:200]}:{limit.endpoint}:{limit.items}/{limit.seconds:g}{own}"


def forget_full_buckets(now: datetime) -> int:
    """Delete buckets that are full again; return how many."""
    return Bucket.objects.filter(at__lt=now - FORGET_AFTER).delete()[0]


# Allowances: how many items a vendor heeds per calendar month. Their bucket counts up instead of
# down, and its time is the end of the month, so that it is deleted after that and never before.


def month_bucket(allowance: Allowance, person: str, now: datetime) -> str:
    """Return the key of the bucket that counts a person's items of this month."""
    own = sha256(person.encode()).hexdigest()
    return f"{allowance.account[:200]}:{allowance.endpoint}:{now:%Y-%m}:{own}"


def items_counted(key: str) -> int:
    """Return how many items a bucket has counted so far."""
    return int(Bucket.objects.filter(key=key).values_list("tokens", flat=True).first() or 0)


def count_items(counts: Mapping[str, int], now: datetime) -> None:
    """Count items. Call in the transaction that records that the vendor accepted them."""
    after = now.replace(day=28, hour=0, minute=0, second=0, microsecond=0) + timedelta(days=4)
    for key, count in counts.items():
        Bucket.objects.get_or_create(key=key, defaults={"tokens": 0, "at": after.replace(day=1)})
        Bucket.objects.filter(key=key).update(tokens=F("tokens") + count)


def _tokens(limit: Limit, row: Bucket | None, now: datetime) -> float:
    if row is None:
        return float(limit.items)
    # A clock that was set back neither adds nor removes tokens.
    passed = max((now - row.at).total_seconds(), 0.0)
    return min(row.tokens + passed * limit.items / limit.seconds, float(limit.items))


def _write(left: Mapping[str, float], known: Mapping[str, Bucket], now: datetime) -> None:
    old = [(known[key].pk, tokens, now) for key, tokens in left.items() if key in known]
    new = [(key, tokens, now) for key, tokens in left.items() if key not in known]
    if old:
        bulk.update(Bucket, ["tokens", "at"], old)
    if new:
        # Two processes may create the same bucket; the loser's tokens are then not counted, once.
        bulk.insert(Bucket, ["key", "tokens", "at"], new, ignore_conflicts=True)
