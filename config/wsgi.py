"""The WSGI entry point, for servers other than `manage.py up`'s (see config/rsgi.py)."""

import os

from django.core.wsgi import get_wsgi_application

from config import timeouts

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

application = get_wsgi_application()
timeouts.limit_web_database()
