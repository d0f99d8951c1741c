"""The WSGI entry point."""

import os

from django.core.wsgi import get_wsgi_application
from django.db import connections

from config import timeouts

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

application = get_wsgi_application()

for database in connections.settings.values():
    database["OPTIONS"] = timeouts.database_options(database, timeouts.WEB_DATABASE_SECONDS)
