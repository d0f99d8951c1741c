"""The HTML page of /_sandbox/. It loads nothing, and every value is escaped."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import Any

import msgspec

from integrations.destinations.heap.sandbox.state import HeapEvent, HeapUser
from integrations.destinations.heap.sandbox.style import STYLE
from integrations.destinations.heap.sandbox.traffic import RequestRecord
from integrations.humanize import format_count

MAX_UNFOLDED_EVENTS = 5  # events of a user that are visible without a click
MAX_SHOWN_CHARS = 120  # characters of a value; the tooltip has the full value
MAX_PROPERTIES = 30  # properties of a user or an event


@dataclass(frozen=True, slots=True)
class UserCard:
    """A user with their latest events, newest first."""

    app_id: str
    user: HeapUser
    events: list[HeapEvent]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The data of the page.

    refresh_s  seconds between reloads, or 0 for none
    """

    counts: Mapping[str, int]
    users: Sequence[UserCard]
    requests: Sequence[RequestRecord]
    faults: int
    url: str
    refresh_s: int
    now: float  # Unix seconds


def render_page(overview: Overview) -> str:
    reload = f'<meta http-equiv="refresh" content="{overview.refresh_s}">'
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
{reload if overview.refresh_s else ""}<title>Heap sandbox · Penstock</title>
<style>{STYLE}</style></head>
<body>{_header(overview)}{_faults(overview.faults)}{_totals(overview.counts)}
<main><section aria-label="Users">{_users(overview)}</section>
<aside>{_requests(overview.requests)}{_links()}</aside></main>
</body></html>"""


def _header(overview: Overview) -> str:
    live = overview.refresh_s > 0
    target, label = ("./", "Stop") if live else ("./?refresh=3", "Refresh every 3 s")
    return f"""<header><div><h1>Heap sandbox</h1>
<p>Penstock’s local emulation of Heap’s API. <strong>Nothing leaves this machine.</strong></p>
</div><nav><a class="button" href="./{"?refresh=3" if live else ""}">Refresh</a>
<a class="button{" live" if live else ""}" href="{target}">{label}</a></nav></header>"""


def _faults(waiting: int) -> str:
    if not waiting:
        return ""
    faults = format_count(waiting, "fault is", "faults are")
    return f"""<p class="banner" role="status">{faults} scripted, so some of the next API
requests will be rejected, delayed or reset. <code>GET /_sandbox/faults</code> lists them.</p>"""


def _totals(counts: Mapping[str, int]) -> str:
    main = [("Events", "events"), ("Users", "users"), ("Requests", "requests")]
    others = [
        ("Duplicates ignored", "duplicates_ignored"),
        ("Visitors identified", "identities_linked"),
        ("Refused", "refused"),
        ("Scripted faults", "faulted"),
    ]
    tiles = [_tile(label, counts.get(name, 0), "main") for label, name in main]
    tiles += [_tile(label, counts.get(name, 0), "") for label, name in others]
    if counts.get("forgotten"):
        tiles.append(_tile("Forgotten, oldest first", counts["forgotten"], ""))
    return f'<dl class="totals">{"".join(tiles)}</dl>'


def _tile(label: str, number: int, kind: str) -> str:
    zero = "" if number else " zero"
    return f'<div class="tile {kind}{zero}"><dt>{label}</dt><dd>{number:,}</dd></div>'


def _users(overview: Overview) -> str:
    if not overview.users:
        return _nothing_yet(overview.url)
    total, shown = overview.counts.get("users", 0), len(overview.users)
    which = f"newest {shown:,} of {total:,}, " if shown < total else ""
    title = f"Users <small>{which}times in UTC</small>"
    cards = "".join(_user(card, overview.now) for card in overview.users)
    return f"<h2>{title}</h2>{cards}"


def _nothing_yet(url: str) -> str:
    body = '{"app_id": "11", "identity": "ada@example.com", "event": "Signed Up"}'
    command = f"curl {url}/api/track \\\n  -H 'Content-Type: application/json' \\\n  -d '{body}'"
    return f"""<div class="empty"><h2>Nothing has arrived yet</h2>
<p>Install Heap in Penstock with the region “Sandbox” and send an event, or try it with curl:</p>
<pre>{escape(command)}</pre></div>"""


def _user(card: UserCard, now: float) -> str:
    user = card.user
    name = escape(user.identity or "Visitor", quote=True)
    kind = "known" if user.identity else "visitor"
    ids = ", ".join(f"<code>{number}</code>" for number in user.user_ids)
    events = format_count(user.events, "event", "events")
    return f"""<article class="user {kind}"><h3>{_avatar(user)}<span>{name}</span>
<small>{_ago(now - user.seen_at)}</small></h3>
<p class="ids">{events} · app <code>{escape(card.app_id)}</code>{" · user_id " if ids else ""}{ids}
</p>{_properties(user.properties, "traits")}{_events(card, now)}</article>"""


def _avatar(user: HeapUser) -> str:
    letter = next((c for c in user.identity if c.isalnum()), "?").upper()
    return f'<i class="avatar" aria-hidden="true">{escape(letter)}</i>'


def _events(card: UserCard, now: float) -> str:
    rows = [_event(event, now) for event in card.events]
    first = f"<ol>{''.join(rows[:MAX_UNFOLDED_EVENTS])}</ol>" if rows else ""
    if len(rows) <= MAX_UNFOLDED_EVENTS:
        return first
    more = len(rows) - MAX_UNFOLDED_EVENTS
    return f"""{first}<details><summary>{more} earlier</summary>
<ol>{"".join(rows[MAX_UNFOLDED_EVENTS:])}</ol></details>"""


def _event(event: HeapEvent, now: float) -> str:
    properties = msgspec.json.decode(event.properties)
    key = escape(event.idempotency_key or "none", quote=True)
    return f"""<li><div class="event"><b>{escape(event.event)}</b>
<time title="received {_clock(event.received_at)} UTC, idempotency key {key}">
{escape(_format_timestamp(event.timestamp))}</time></div>{_properties(properties, "chips")}</li>"""


def _properties(properties: Mapping[str, Any], kind: str) -> str:
    if not properties:
        return ""
    shown = list(properties.items())[:MAX_PROPERTIES]
    pairs = "".join(
        f"<div><dt>{_short(key)}</dt><dd>{_short(value)}</dd></div>" for key, value in shown
    )
    more = len(properties) - len(shown)
    rest = f"<div><dt>and {more} more</dt></div>" if more else ""
    return f'<dl class="{kind}">{pairs}{rest}</dl>'


def _short(value: object) -> str:
    whole = str(value)
    if len(whole) <= MAX_SHOWN_CHARS:
        return escape(whole)
    return f'<span title="{escape(whole, quote=True)}">{escape(whole[:MAX_SHOWN_CHARS])}…</span>'


def _requests(requests: Sequence[RequestRecord]) -> str:
    rows = "".join(map(_request, requests))
    body = f"<ol>{rows}</ol>" if rows else "<p>None yet.</p>"
    return f'<section class="requests"><h2>Latest requests</h2>{body}</section>'


def _request(seen: RequestRecord) -> str:
    kind = "good" if seen.outcome.startswith("2") else "bad"
    items = format_count(seen.items, "entry", "entries")
    took = f"{seen.duration_ms:,.1f} ms" if seen.duration_ms >= 0.1 else "&lt; 0.1 ms"
    facts = [_clock(seen.at), *([items] if seen.items else []), _size(seen.size), took]
    facts += ["scripted"] if seen.fault else []
    said = f"<q>{_short(seen.said)}</q>" if seen.said and not seen.fault else ""
    return f"""<li><span class="status {kind}">{seen.outcome}</span>
<div><b>{escape(seen.endpoint)}</b><small>{" · ".join(facts)}</small>{said}</div></li>"""


def _links() -> str:
    paths = ("state", "events", "users", "accounts", "keys", "requests", "faults", "limits")
    links = " ".join(f'<a href="{path}">{path}</a>' for path in paths)
    return f'<section class="links"><h2>As JSON</h2><p>{links}</p></section>'


def _format_timestamp(timestamp: str) -> str:
    """Return an ISO 8601 time as `2026-11-21 09:30:05`, in UTC if it has a zone."""
    moment = datetime.fromisoformat(timestamp)
    try:
        moment = moment.astimezone(UTC) if moment.tzinfo else moment
    except OverflowError:  # the first or the last day of the calendar
        return timestamp
    return moment.isoformat(" ", "seconds").removesuffix("+00:00")


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S")


def _ago(seconds: float) -> str:
    for length, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit} ago"
    return "just now" if seconds < 2 else f"{seconds:.0f} s ago"


def _size(size: int) -> str:
    return f"{size:,} B" if size < 1_000 else f"{size / 1_000:,.1f} kB"
