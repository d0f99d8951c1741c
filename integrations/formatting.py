"""Formats states, times and numbers for pages."""

import re

from django.template.defaultfilters import date
from django.utils import timezone
from django.utils.html import escape, format_html
from django.utils.safestring import mark_safe

from integrations.humanize import TimedText, format_duration, format_relative

KEEP_STORED_HELP = "Leave empty to keep the stored value."

EXACT_TIME_FORMAT = "Y-m-d H:i:s"

CHIP_HTML = (
    '<span class="ps-chip ps-{}"><span class="material-symbols-outlined" aria-hidden="true">{}'
    "</span>{}</span>"
)

SPARKLINE_SIZE = (120, 28)  # width and height, in units of the SVG


def chip(words):
    """Return a delivery.status.status_text.StatusText as a chip: colour, icon and title."""
    return render_chip(words.level, words.icon, words.title)


def render_chip(level, icon, title):
    return format_html(CHIP_HTML, level, icon, title)


def sparkline(numbers):
    """Return numbers, oldest first, as a small bar chart; "" if all are 0."""
    most = max(numbers, default=0)
    if not most:
        return ""
    width, height = SPARKLINE_SIZE
    step = width / len(numbers)
    bars = ((step * i, height, -height * number / most) for i, number in enumerate(numbers))
    return format_html(
        '<svg class="ps-spark" viewBox="0 0 {} {}" preserveAspectRatio="none" aria-hidden="true">'
        '<path d="{}"/></svg>',
        width,
        height,
        bar_path(bars, max(step - 1, 0.5)),
    )


def bar_path(bars, wide):
    """Return the SVG path of bars, each (left, bottom, height); a negative height goes up.

    All bars share one path, because a page has thousands of them and an element for each would be
    slow to render.
    """
    return "".join(
        f"M{x:.1f} {y:.1f}h{wide:.1f}v{tall:.1f}h-{wide:.1f}z" for x, y, tall in bars if tall
    )


def ago(moment):
    """Return a time relative to now, with the exact time on hover."""
    if moment is None:
        return "–"
    seconds = (timezone.now() - moment).total_seconds()
    return format_html(
        '<time datetime="{}" title="{} UTC" data-ago>{}</time>',
        moment.isoformat(),
        date(moment, EXACT_TIME_FORMAT),
        format_relative(seconds) or date(moment, "j M Y"),
    )


def exact(moment):
    if moment is None:
        return "–"
    text = f"{date(moment, EXACT_TIME_FORMAT)} UTC"
    return format_html('<time datetime="{}" data-exact>{}</time>', moment.isoformat(), text)


def left(moment):
    """Return the time left until a moment, such as "6 d left", with the exact time on hover."""
    away = (moment - timezone.now()).total_seconds()
    span = format_relative(-away).removeprefix("in ") or f"{away / 86_400:.0f} d"
    return format_html(
        '<time datetime="{}" title="Until {} UTC" data-left>{}</time>',
        moment.isoformat(),
        date(moment, EXACT_TIME_FORMAT),
        f"{span} left" if away > 0 else "last attempt",
    )


def mark_times(text):
    """Return a sentence as HTML. The times of a TimedText become <time> elements."""
    moments = text.moments if isinstance(text, TimedText) else {}
    if not moments:
        return escape(text)

    def element(match):
        return f'<time datetime="{moments[match[0]].isoformat()}" data-clock>{match[0]}</time>'

    # In one pass, because "12:00:00 UTC" is also the end of "2026-11-21 12:00:00 UTC".
    return mark_safe(re.sub("|".join(moments), element, escape(text)))  # noqa: S308


def number(count):
    """Return a number such as 1,234."""
    return f"{count:,}"


def duration(milliseconds):
    """Return a duration in milliseconds as format_duration() does."""
    return format_duration(None if milliseconds is None else milliseconds / 1_000)
