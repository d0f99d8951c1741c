"""The admin pages of integrations, the log and the system."""

from django.contrib import admin
from django_q import admin as _django_q  # noqa: F401  (registers what is unregistered here)
from django_q.models import Failure, OrmQ, Schedule, Success

from delivery.admin import (  # noqa: F401  (registers their model admins)
    audit,
    incidents,
    replays,
    sources,
)
from delivery.admin.installations import pages  # noqa: F401
from delivery.admin.log import deliveries, events  # noqa: F401

# django-q2's own tables say nothing about deliveries, and their forms do not fit the theme.
for model in (Failure, OrmQ, Schedule, Success):
    if admin.site.is_registered(model):
        admin.site.unregister(model)
