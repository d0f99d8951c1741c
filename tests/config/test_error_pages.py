"""The error page of DEBUG shows no secret, wherever the page would have it from."""

import sys

import pytest
from django.conf import settings as django_settings
from django.test import RequestFactory
from django.views.debug import technical_500_response

from config.timeouts import redis_url

SECRETS = {
    "SECRET_KEY": "canary-key",
    "SECRET_KEY_FALLBACKS": ["canary-former"],
    "SECRETS_KEYS": ["canary-sealing", "canary-old"],
    "BROKER_URL": "redis://:canary-broker@host/0",
    "EMAIL_URL": "smtp://user:canary%26mail@host:25",
    "EMAIL_HOST_PASSWORD": "canary&mail",
    "DATABASE_URL": "postgres://user:canary-database@host/name",
    "ALARM_WEBHOOK_URL": "https://user:canary-user@hooks.example/T0/canary-path?t=canary-query",
    "ALARM_WEBHOOK_SECRET": "canary-webhook",
}


@pytest.mark.parametrize("accepted", ["text/html", "application/json"])
def test_the_error_page_shows_no_secret(settings, accepted):
    settings.DEBUG = True
    for name, value in SECRETS.items():
        setattr(settings, name, value)
    settings.Q_CLUSTER = {"redis": redis_url(SECRETS["BROKER_URL"])}
    request = RequestFactory().get("/", headers={"accept": accepted}, **environment_of_a_server())
    request.COOKIES = {}
    page = page_of_an_error(request)
    assert "canary" not in page
    assert "redis://:***@host/0" in page
    assert "https://user:***@hooks.example/***?***" in page


def environment_of_a_server():
    """Django's own server puts the variables of the process into every request."""
    return {name: str(value) for name, value in SECRETS.items() if not isinstance(value, list)}


def page_of_an_error(request):
    local = [getattr(django_settings, name) for name in SECRETS]
    try:
        raise ValueError(f"Cannot connect to {django_settings.BROKER_URL}: {len(local)}")
    except ValueError:
        return technical_500_response(request, *sys.exc_info()).content.decode()
