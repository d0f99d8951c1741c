"""Limits how many calls per minute a token may make; it may make as many at once."""

import math

from django.conf import settings
from rest_framework.throttling import BaseThrottle

from integrations.api.authentication import caller_key
from integrations.rate_limits import token_bucket


class TokenRateThrottle(BaseThrottle):
    """Take one call from the token's bucket, and keep what is left for the response headers."""

    def allow_request(self, request, view):
        limit = settings.API_RATE_LIMIT
        if not limit or request.auth is None:
            return True
        taken = token_bucket.take_tokens(
            f"api:{caller_key(request.auth)}", 1, rate=limit / 60, size=limit
        )
        self.seconds = math.ceil(taken.wait)
        request.rate_headers = {
            "RateLimit-Limit": str(limit),
            "RateLimit-Remaining": str(max(0, math.floor(taken.left))),
            "RateLimit-Reset": str(math.ceil((limit - taken.left) * 60 / limit)),
        }
        return not taken.wait

    def wait(self):
        return self.seconds
