"""Penstock's web application with short time limits, for tests that wait for them."""

from config import request_bodies, rsgi

request_bodies.BODY_SECONDS = 2.0
rsgi.STALL_SECONDS = 2.0

application = rsgi.application
