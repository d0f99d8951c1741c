"""How the pages of the admin show times, JSON and logos."""

import json

from django import template
from django.template.defaultfilters import date
from django.utils import timezone
from django.utils.html import escape, format_html
from django.utils.safestring import mark_safe
from pygments import highlight
from pygments.formatters.html import HtmlFormatter
from pygments.lexers.data import JsonLexer

from integrations import catalog

register = template.Library()

STEPS = ((60, 1, "s"), (3_600, 60, "min"), (86_400, 3_600, "h"), (7 * 86_400, 86_400, "d"))
EXACT = "Y-m-d H:i:s"


@register.filter
def ago(moment):
    """Return a time relative to now, with the exact one on hover."""
    if moment is None:
        return "–"
    seconds = (timezone.now() - moment).total_seconds()
    return format_html(
        '<time datetime="{}" title="{} UTC">{}</time>',
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
    return f"{date(moment, EXACT)} UTC" if moment else "–"


@register.filter
def pretty(value):
    """Return JSON, given as text or as a value, indented and coloured; other text as it is."""
    try:
        value = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return escape(value)
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return mark_safe(highlight(text, JsonLexer(), HtmlFormatter(nowrap=True)))  # noqa: S308


@register.filter
def headers(text):
    """Return the (name, value) pairs of headers kept as JSON."""
    return json.loads(text).items() if text else ()


@register.filter
def logo(destination):
    """Return the address of a destination's logo."""
    return catalog.logo(destination.key)
