"""Template filters of the admin's pages: states, times, figures, JSON and logos."""

import json

from django import template
from django.db.models import Model
from django.template.defaultfilters import capfirst
from django.utils.html import escape
from django.utils.safestring import mark_safe
from pygments import highlight
from pygments.formatters.html import HtmlFormatter
from pygments.lexers.data import JsonLexer

from integrations import catalog
from integrations.encryption import MASK
from integrations.formats.json_values import parse_json_or_text
from integrations.formatting import ago, chip, duration, exact, left, mark_times, number, sparkline

register = template.Library()
SECRET_MARK = (
    f'<mark class="ps-secret" title="A secret of the installation; never logged">{MASK}</mark>'
)
PAGE_NAMES = {
    "installations": "My Integrations",
    "rejections": "Rejected messages",
    "audit entries": "Audit log",
    "groups": "Roles",
    "group": "Role",
}


@register.filter
def pretty(value):
    """Return JSON, as text or value, indented and highlighted. Other text is returned as is."""
    if isinstance(value, str):
        text, value = value, parse_json_or_text(value)
        if value is text:
            return escape(text)
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return _mark_secrets(highlight(text, JsonLexer(), HtmlFormatter(nowrap=True)))


@register.filter
def raw(value):
    """Return the original text if pretty() shows it differently, otherwise ""."""
    if not isinstance(value, str) or (parsed := parse_json_or_text(value)) is value:
        return ""
    return "" if parsed in ({}, []) else value


@register.filter
def masked(text):
    """Return text with each masked secret highlighted."""
    return _mark_secrets(escape(text))


def _mark_secrets(html):
    return mark_safe(html.replace(MASK, SECRET_MARK))  # noqa: S308


@register.filter
def page_name(title):
    """Return the name of a model as in the navigation, or the name of an object unchanged."""
    if isinstance(title, Model):
        return str(title)
    return PAGE_NAMES.get(str(title).lower(), capfirst(title))


@register.filter
def headers(text):
    """Return the (name, value) pairs of headers stored as JSON."""
    return json.loads(text).items() if text else ()


@register.filter
def logo(destination):
    """Return the URL of a destination's logo."""
    return catalog.logo_url(destination.key)


@register.filter
def as_json(value):
    """Return a value as JSON for an HTML attribute."""
    return json.dumps(value)


for function in (chip, sparkline, ago, exact, left, mark_times, number, duration):
    register.filter(function.__name__, function)
