"""The way of one delivery, moment by moment, as a person reads it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from delivery.log.body_access import HIDDEN
from delivery.log.detail import Sent, Story
from delivery.models import Attempt, Delivery
from delivery.status.deliveries import ICONS, delivery_in_words
from delivery.tester import preview
from delivery.tester.preview import Preview, Step
from integrations.blueprints import BlueprintError
from integrations.encryption import SecretsUnreadable

State = Delivery.State
WAITED = timedelta(seconds=1)  # shorter pauses between attempts are not worth a line
LATER = timedelta(minutes=1)  # queued so long after it came in: again, or by a replay


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One thing that happened.

    at      when, or None where nothing but the order is known
    lines   more about it, a sentence each
    folded  the same, that only some want to read: (what it is, its lines)
    sent    an attempt, with request and answer
    steps   of an attempt: what happened in it one after the other, each with how long it took
    """

    icon: str
    level: str
    title: str
    at: datetime | None = None
    detail: str = ""
    lines: Sequence[str] = ()
    folded: tuple[str, Sequence[str]] | None = None
    sent: Sent | None = None
    steps: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Try:
    """An attempt beside the one before it.

    waited   since that one ended, or since it was queued; "" where it is not known
    changed  what is not as it was then: of "answer", "outcome", "error", "worker"
    """

    number: int
    sent: Sent
    waited: str
    changed: frozenset[str]


def timeline(story: Story, now: datetime) -> list[Moment]:
    """Return what happened to a delivery, oldest first, ending with how it stands."""
    beginning = [_received(story), _stored(story), *_shaped(story)]
    return [*beginning, *_tries(story), _outcome(story, now)]


def _received(story: Story) -> Moment:
    event = story.delivery.event
    return Moment(
        icon="login",
        level="off",
        title="Received",
        at=event.received_at,
        detail=f"from {event.source}",
        lines=story.event_notes,
    )


def _stored(story: Story) -> Moment:
    delivery = story.delivery
    return Moment(
        icon="database",
        level="off",
        title="Stored and queued",
        at=None if _came_back(delivery) else delivery.queued_at,
        detail=f"for {delivery.installation}",
    )


def _came_back(delivery: Delivery) -> bool:
    return delivery.queued_at - delivery.event.received_at > LATER


def _shaped(story: Story) -> Iterator[Moment]:
    made = explained(story)
    if isinstance(made, str):
        yield Moment(icon="tune", level="off", title="Blueprint", detail=made)
        return
    triggered = [step for step in made.steps if step.triggered]
    yield Moment(
        icon="bolt",
        level="off" if triggered else "waiting",
        title="Triggered" if triggered else "No action was triggered",
        detail=", ".join(f"{step.name} ({step.kind})" for step in triggered),
        folded=_others(made.steps),
    )
    if triggered:
        yield _mapped(story, made)


def explained(story: Story) -> Preview | str:
    """Return what the blueprint does with the event, action by action, or why none can tell."""
    delivery, revision = story.delivery, story.revision
    if not story.shows_bodies:
        return HIDDEN
    if not story.body or revision is None:
        return "The event's body or the blueprint is not kept any more."
    message = story.message
    try:
        return preview.preview(delivery.installation, message, revision.blueprint)
    except (BlueprintError, SecretsUnreadable, LookupError, TypeError, ValueError) as error:
        return f"It cannot be applied: {error}"


def _others(steps: Sequence[Step]) -> tuple[str, Sequence[str]] | None:
    lines = [f"{step.name}: {' '.join(step.why)}" for step in steps if not step.triggered]
    if not lines:
        return None
    return f"{len(lines)} other action{'s were' if len(lines) > 1 else ' was'} not", lines


def _mapped(story: Story, made: Preview) -> Moment:
    revision = story.revision
    done = "shaped it" if story.delivery.revision else "would shape it now"
    items = sum(step.items for step in made.steps)
    return Moment(
        icon="transform",
        level="off" if items else "waiting",
        title="Shaped" if items else "Nothing to send",
        detail=f"Revision {revision.number} {done}: {items} item{'' if items == 1 else 's'}",
        lines=story.notes or [*made.notes, *filter(None, [made.reason])],
    )


def _tries(story: Story) -> Iterator[Moment]:
    """Yield the attempts, the waits between them, and where it was queued again."""
    delivery, ended = story.delivery, None
    again = delivery.queued_at if _came_back(delivery) else None
    for number, sent in _numbered(story):
        at = sent.attempt.started_at
        if again and at >= again:
            yield _queued_again(delivery)
            again, ended = None, None
        if ended and at - ended >= WAITED:
            yield Moment(icon="hourglass_top", level="new", title=f"Waited {_span(at - ended)}")
        yield _attempt(sent, number, _steps(delivery, sent.attempt))
        ended = _end(sent.attempt)
    if again:
        yield _queued_again(delivery)


def tries(story: Story) -> list[Try]:
    """Return the attempts, newest first, each with what differs from the one before it."""
    found: list[Try] = []
    last: Attempt | None = None
    for number, sent in _numbered(story):
        attempt = sent.attempt
        changed = [name for name, of in COMPARED.items() if last and of(last) != of(attempt)]
        since = _end(last) if last else None if _came_back(story.delivery) else _queued_at(story)
        waited = _span(max(attempt.started_at - since, timedelta())) if since else ""
        found.insert(0, Try(number, sent, waited, frozenset(changed)))
        last = attempt
    return found


COMPARED: dict[str, Callable[[Attempt], object]] = {
    "answer": lambda attempt: attempt.status,
    "outcome": lambda attempt: attempt.outcome,
    "error": lambda attempt: attempt.error,
    "worker": lambda attempt: attempt.worker,
}


def _numbered(story: Story) -> Iterator[tuple[int, Sent]]:
    return enumerate(reversed(story.sent), _first_number(story))


def _queued_at(story: Story) -> datetime:
    return story.delivery.queued_at


def _end(attempt: Attempt) -> datetime:
    return attempt.started_at + timedelta(milliseconds=attempt.duration_ms)


def _steps(delivery: Delivery, attempt: Attempt) -> list[str]:
    """Return who sent it and how long each step took; nothing of an older version's attempts."""
    if attempt.taken_at is None:
        return []
    taken = f"Taken from the queue by {attempt.worker}"
    is_last = attempt.pk == delivery.last_attempt_id
    answered = "answered" if attempt.status else "given up without an answer"
    steps = [
        taken,
        f"sent {_span(attempt.started_at - attempt.taken_at)} later",
        f"{answered} after {_span(timedelta(milliseconds=attempt.duration_ms))}",
    ]
    if is_last and delivery.settled_at:
        steps.append(f"written down {_span(delivery.settled_at - _end(attempt))} later")
    return steps


def _first_number(story: Story) -> int:
    return max(story.delivery.attempts - len(story.sent), 0) + 1


def _queued_again(delivery: Delivery) -> Moment:
    how = {Delivery.Trigger.HAND: "by hand", Delivery.Trigger.REPLAY: "by a replay"}
    detail = how.get(delivery.trigger, "")
    title = (
        "Queued by a backfill" if delivery.trigger == Delivery.Trigger.BACKFILL else "Queued again"
    )
    return Moment(icon="replay", level="busy", title=title, at=delivery.queued_at, detail=detail)


OUTCOMES = {"accepted": ("well", "check_circle"), "VendorUnavailable": ("waiting", "schedule")}


def _attempt(sent: Sent, number: int, steps: Sequence[str]) -> Moment:
    attempt = sent.attempt
    level, icon = OUTCOMES.get(attempt.outcome, ("attention", "error"))
    detail = "" if attempt.outcome == "accepted" else attempt.outcome
    return Moment(
        icon=icon,
        level=level,
        title=f"Attempt {number}",
        at=attempt.started_at,
        detail=detail,
        sent=sent,
        steps=steps,
    )


def _outcome(story: Story, now: datetime) -> Moment:
    delivery = story.delivery
    words = delivery_in_words(delivery, now)
    _, icon = ICONS[delivery.state]
    return Moment(
        icon=icon,
        level=words.level,
        title=words.title,
        at=delivery.settled_at,
        detail=words.detail if delivery.state == State.QUEUED else "",
    )


def _span(span: timedelta) -> str:
    seconds = max(span.total_seconds(), 0.0)  # the clocks of two machines may differ a little
    if seconds < 1:
        return f"{seconds * 1_000:.0f} ms"
    for limit, unit, name in ((90, 1, "s"), (5_400, 60, "min"), (172_800, 3_600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / 86_400:.0f} days"
