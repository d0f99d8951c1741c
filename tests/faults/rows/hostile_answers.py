"""A vendor that answers with any bytes at any time."""

from collections import Counter

from hypothesis import HealthCheck, given, settings

from tests.delivery.worker.test_hostile_vendor import check_answer, hostile_vendor_of_worker
from tests.faults.registry import POSTGRES, SQLITE, Result, RowContext, row
from tests.support.hostile_vendor import HostileAnswer, hostile_answers


@row("40", "Answers that no client expects", short=10, full=2_000, on=(POSTGRES, SQLITE),
     in_process=True)  # fmt: skip
def unexpected_answers(context: RowContext, result: Result) -> None:
    """Rounds are answers: any status line, headers, body, coding, framing and timing. After each,
    one attempt is stored and can be shown, the delivery and its lane stand as the answer requires,
    and the next message is delivered."""
    standings: Counter[str] = Counter()
    with hostile_vendor_of_worker() as vendor:

        @settings(
            max_examples=context.rounds,
            database=None,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        )
        @given(hostile_answers())
        def deliver(answer: HostileAnswer) -> None:
            standings[check_answer(vendor, answer)] += 1

        deliver()
    result.note = ", ".join(f"{count} {name}" for name, count in standings.most_common())
