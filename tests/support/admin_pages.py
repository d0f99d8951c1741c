"""Reads pages of the admin, and sends their forms as a browser does."""

import re
from html import unescape
from html.parser import HTMLParser


def read_page(client, address, **params):
    """Return the HTML of a page."""
    answer = client.get(address, params)
    assert answer.status_code == 200, answer
    return answer.content.decode()


def text_of(html):
    """Return the text of a page, with whitespace collapsed."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


def open_form(client, address):
    """Return the values that a browser would send from the page's form, by name, as lists."""
    return form_values(read_page(client, address))


def form_values(html):
    """Return the values of the only form that the page sends to its own URL; {} without one."""
    [values] = [values for action, values in posted_forms(html) if not action] or [{}]
    return values


def posted_forms(html):
    """Return (URL, values) of each form that is sent by POST; the page's own URL is ""."""
    reader = FormReader()
    reader.feed(html)
    return reader.forms


def send_form(client, address, values, **changes):
    """Send a form that was opened before, with some of its values changed; follow redirects."""
    return client.post(address, {**values, **changes}, follow=True)


def change_form(client, address, **changes):
    """Open the page of a form, change some values and send it."""
    return send_form(client, address, open_form(client, address), **changes)


class FormReader(HTMLParser):
    """Collects the forms of a page that are sent by POST, with the values that are sent."""

    def __init__(self):
        super().__init__()
        self.forms, self.form, self.name, self.text = [], None, "", None

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "form":
            is_posted = attrs.get("method", "").lower() == "post"
            self.form = {} if is_posted else None
            self.forms += [(attrs.get("action", ""), self.form)] if is_posted else []
        elif tag in ("select", "textarea"):
            self.name, self.options, self.text = attrs.get("name", ""), [], ""
            self.is_multiple = "multiple" in attrs
        elif tag == "option":
            self.options.append((attrs.get("value", ""), "selected" in attrs))
        elif tag == "input" and is_sent(attrs):
            is_box = attrs.get("type") in ("checkbox", "radio")
            self.add(attrs.get("name", ""), attrs.get("value", "on" if is_box else ""))

    def handle_data(self, data):
        if self.text is not None:
            self.text += data

    def handle_endtag(self, tag):
        if tag == "form":
            self.form = None
        elif tag == "textarea":
            self.add(self.name, "\r\n".join(self.text.removeprefix("\n").splitlines()))
            self.text = None
        elif tag == "select":
            chosen = [value for value, is_selected in self.options if is_selected]
            first = [] if self.is_multiple else [value for value, _ in self.options[:1]]
            for value in chosen or first:
                self.add(self.name, value)
            self.text = None

    def add(self, name, value):
        if self.form is not None and name:
            self.form.setdefault(name, []).append(value)


def is_sent(attrs):
    kind = attrs.get("type", "text")
    if kind in ("submit", "button") or "disabled" in attrs:
        return False
    return kind not in ("checkbox", "radio") or "checked" in attrs
