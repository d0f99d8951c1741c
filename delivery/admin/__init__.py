"""The admin: what is installed, the log, and what was refused."""

from django.contrib import admin
from django_q import admin as _django_q  # noqa: F401  (registers what is taken away here)
from django_q.models import Failure, OrmQ, Schedule, Success

from delivery.admin import (  # noqa: F401  (they register theirs)
    audit,
    incidents,
    replays,
    sources,
)
from delivery.admin.installations import pages  # noqa: F401
from delivery.admin.log import deliveries, events  # noqa: F401

# The bell's own tables say nothing about deliveries, and their forms do not fit the theme.
for model in (Failure, OrmQ, Schedule, Success):
    if admin.site.is_registered(model):
        admin.site.unregister(model)
