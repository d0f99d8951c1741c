"""How the pages of the admin show states, times, figures, JSON and logos."""

import json
import re
from contextlib import suppress

from django import template
from django.db.models import Model
from django.template.defaultfilters import capfirst, date
from django.utils import timezone
from django.utils.html import escape, format_html
from django.utils.safestring import mark_safe
from pygments import highlight
from pygments.formatters.html import HtmlFormatter
from pygments.lexers.data import JsonLexer

from integrations import catalog
from integrations.encryption import MASK

register = template.Library()

STEPS = ((60, 1, "s"), (3_600, 60, "min"), (86_400, 3_600, "h"), (7 * 86_400, 86_400, "d"))
EXACT = "Y-m-d H:i:s"
CLOCK = re.compile(r"(?:(\d{4}-\d{2}-\d{2}) )?(\d{2}:\d{2}:\d{2}) UTC")  # as state.clock() writes
MARK = (
    f'<mark class="ps-secret" title="A secret of the installation: it is never kept">{MASK}</mark>'
)
CHIP = (
    '<span class="ps-chip ps-{}"><span class="material-symbols-outlined" aria-hidden="true">{}'
    "</span>{}</span>"
)
NAMES = {
    "installations": "My Integrations",
    "rejections": "Rejected messages",
    "audit entries": "Audit log",
    "groups": "Roles",
    "group": "Role",
}
SPARK = (120, 28)  # width and height, in the drawing's own units


@register.filter
def chip(words):
    """Return a state (delivery.status.installations.Words) as a chip: colour, icon and title."""
    return chip_of(words.level, words.icon, words.title)


def chip_of(level, icon, title):
    return format_html(CHIP, level, icon, title)


@register.filter
def sparkline(numbers):
    """Return numbers, oldest first, as a small drawing of bars; "" when there are none."""
    most = max(numbers, default=0)
    if not most:
        return ""
    width, height = SPARK
    step = width / len(numbers)
    bars = ((step * i, height, -height * number / most) for i, number in enumerate(numbers))
    return format_html(
        '<svg class="ps-spark" viewBox="0 0 {} {}" preserveAspectRatio="none" aria-hidden="true">'
        '<path d="{}"/></svg>',
        width,
        height,
        path(bars, max(step - 1, 0.5)),
    )


def path(bars, wide):
    """Return a drawing's path of bars: (left, bottom, how far it goes down from there).

    One path for all: a page has thousands of bars, and an element for each takes long to write.
    """
    return "".join(
        f"M{x:.1f} {y:.1f}h{wide:.1f}v{tall:.1f}h-{wide:.1f}z" for x, y, tall in bars if tall
    )


# --- times: the server writes UTC, penstock.js shows them in the viewer's zone --------------------


@register.filter
def ago(moment):
    """Return a time relative to now, with the exact one on hover."""
    if moment is None:
        return "–"
    seconds = (timezone.now() - moment).total_seconds()
    return format_html(
        '<time datetime="{}" title="{} UTC" data-ago>{}</time>',
        moment.isoformat(),
        date(moment, EXACT),
        relative(seconds) or date(moment, "j M Y"),
    )


def relative(seconds):
    """Return "12 s ago" or "in 5 min"; nothing beyond a week, where a date says more."""
    for limit, unit, name in STEPS:
        if abs(seconds) < limit:
            number = f"{int(abs(seconds) / unit)} {name}"
            return f"in {number}" if seconds < 0 else f"{number} ago"
    return ""


@register.filter
def exact(moment):
    if moment is None:
        return "–"
    shown = f"{date(moment, EXACT)} UTC"
    return format_html('<time datetime="{}" data-exact>{}</time>', moment.isoformat(), shown)


@register.filter
def left(moment):
    """Return how long it is until then, as "6 d left", with the exact time on hover."""
    away = (moment - timezone.now()).total_seconds()
    span = relative(-away).removeprefix("in ") or f"{away / 86_400:.0f} d"
    return format_html(
        '<time datetime="{}" title="Until {} UTC" data-left>{}</time>',
        moment.isoformat(),
        date(moment, EXACT),
        f"{span} left" if away > 0 else "last try",
    )


@register.filter
def clocks(text):
    """Return a sentence with the times that state.clock() wrote into it as such."""
    today = timezone.now().date().isoformat()

    def marked(match):
        day, clock = match[1] or today, match[2]
        return f'<time datetime="{day}T{clock}+00:00" data-clock>{match[0]}</time>'

    return mark_safe(CLOCK.sub(marked, escape(text)))  # noqa: S308


@register.filter
def pretty(value):
    """Return JSON, given as text or as a value, indented and coloured; other text as it is."""
    try:
        value = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return escape(value)
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return _masked(highlight(text, JsonLexer(), HtmlFormatter(nowrap=True)))


@register.filter
def raw(value):
    """Return the text of JSON that looks otherwise when it is pretty, or ""."""
    if not isinstance(value, str):
        return ""
    with suppress(ValueError):
        return value if json.loads(value) not in ({}, []) else ""
    return ""


@register.filter
def masked(text):
    """Return text with each masked secret marked as one."""
    return _masked(escape(text))


def _masked(html):
    return mark_safe(html.replace(MASK, MARK))  # noqa: S308


@register.filter
def page_name(title):
    """Return a model's name as the navigation has it, and an object's as somebody wrote it."""
    if isinstance(title, Model):
        return str(title)
    return NAMES.get(str(title).lower(), capfirst(title))


@register.filter
def headers(text):
    """Return the (name, value) pairs of headers kept as JSON."""
    return json.loads(text).items() if text else ()


@register.filter
def logo(destination):
    """Return the address of a destination's logo."""
    return catalog.logo(destination.key)


@register.filter
def number(count):
    """Return 1,234."""
    return f"{count:,}"


@register.filter
def duration(milliseconds):
    """Return "80 ms" or "1.2 s"."""
    return f"{milliseconds} ms" if milliseconds < 1_000 else f"{milliseconds / 1_000:,.1f} s"


@register.filter
def as_json(value):
    """Return a value as JSON for an attribute."""
    return json.dumps(value)
