"""The response to too many failed logins, in the API and in the admin."""

import math

from axes.models import AccessAttempt
from django.conf import settings
from django.contrib import admin
from django.http import HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils import timezone

from integrations.access.login_limits import TooManyLogins
from integrations.api import errors


def get_client_ip(request):
    """Return the client's IP address, which config/proxies.py has set behind trusted proxies."""
    return request.META.get("REMOTE_ADDR") or None


def lockout_response(request, response, credentials):
    """Return the response to a locked login: 429 with Retry-After."""
    seconds = _seconds_until_unlocked(request, (credentials or {}).get("username"))
    minutes = math.ceil(seconds / 60)
    message = (
        f"Too many failed logins. Retry in {minutes} min, or ask the operator of Penstock to "
        "unlock the name."
    )
    return refuse_login(request, "ACCOUNT_LOCKED", message, seconds)


def login_limit_middleware(get_response):
    """Return a middleware that responds to logins over the limits of `login_limits`."""

    def middleware(request):
        return get_response(request)

    def process_exception(request, error):
        return too_many_logins(request, error) if isinstance(error, TooManyLogins) else None

    middleware.process_exception = process_exception
    return middleware


def too_many_logins(request, error):
    seconds = math.ceil(error.seconds)
    message = f"Too many logins from your network. Retry in {seconds} s."
    return refuse_login(request, "RATE_LIMITED", message, seconds)


def refuse_login(request, code, message, seconds):
    """Return a 429: JSON for the API, a page for the admin."""
    if request.path.startswith("/v1/"):
        answer: HttpResponse = JsonResponse(errors.error_body(code, message), status=429)
    else:
        context = {**admin.site.each_context(request), "message": message}
        answer = render(request, "admin/locked.html", context, status=429)
    answer["Retry-After"] = str(seconds)
    return answer


def _seconds_until_unlocked(request, username):
    """Return the seconds until the lock ends, counted from the last failed login."""
    whole = settings.AXES_COOLOFF_TIME
    tries = AccessAttempt.objects.filter(username=username, ip_address=get_client_ip(request))
    last = tries.order_by("-attempt_time").values_list("attempt_time", flat=True).first()
    left = whole - (timezone.now() - last) if last else whole
    return max(1, math.ceil(left.total_seconds()))
