"""Settings, each from the environment or from `.env` (see `.env.example` for all, with units)."""

from datetime import timedelta
from pathlib import Path

from csp.constants import NONE, SELF, UNSAFE_EVAL, UNSAFE_INLINE

from config import private_files, timeouts
from config.environment import Environment
from config.theme import UNFOLD  # noqa: F401  (a setting, too)

BASE_DIR = Path(__file__).resolve().parent.parent

env = Environment()
env.read_env(BASE_DIR / ".env")
ENVIRONMENT = env  # for the system checks
# Penstock sets these for its own processes.
env.variables.update(("PENSTOCK_CLUSTER", "PENSTOCK_STOP_FILE"))

# --- secrets ---------------------------------------------------------------------------------
SECRET_KEY = env.secret("SECRET_KEY")
# Earlier keys, which still verify sessions and queued tasks, but sign nothing.
SECRET_KEY_FALLBACKS = env.secret("PENSTOCK_OLD_SECRET_KEYS", list, default=[])
# Fernet keys for the secrets of installations. The first key encrypts, and all of them decrypt, so
# put a new key in front to rotate, and then run `manage.py rotate_secrets`.
SECRETS_KEYS = env.secret("PENSTOCK_SECRETS_KEYS", list)
# `manage.py bootstrap` uses these; here they are only checked.
for each in ("PENSTOCK_ADMIN_PASSWORD", "PENSTOCK_WRITE_KEY", "PENSTOCK_API_TOKEN"):
    env.secret(each, default="")

# --- server ----------------------------------------------------------------------------------
DEBUG = env.bool("DEBUG", default=False)
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
# Addresses or networks of proxies whose forwarded client address and scheme are trusted.
TRUSTED_PROXIES = env.list("PENSTOCK_TRUSTED_PROXIES", default=[])
# On: browsers reach Penstock over HTTPS only, by a proxy that terminates TLS.
HTTPS = env.bool("PENSTOCK_HTTPS", default=False)
SECURE_SSL_REDIRECT = SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0  # a year
SECURE_HSTS_INCLUDE_SUBDOMAINS = HTTPS
# A preloaded domain cannot go back to HTTP for months, so that only its owner may decide that.
SILENCED_SYSTEM_CHECKS = ["security.W021"]
SESSION_HOURS = env.float("PENSTOCK_SESSION_HOURS", default=336.0)
SESSION_COOKIE_AGE = round(SESSION_HOURS * 3_600)  # seconds
WEB_BIND = env.str("PENSTOCK_WEB_BIND", default="127.0.0.1:8084")
WEB_WORKERS = env.int("PENSTOCK_WEB_WORKERS", default=2)
WEB_THREADS = env.int("PENSTOCK_WEB_THREADS", default=4)
# URL of the sandbox. When set, it is the default region of new installations. Empty in production.
SANDBOX_URL = env.str("PENSTOCK_SANDBOX_URL", default="")

# --- ingest ----------------------------------------------------------------------------------
MAX_REQUEST_BYTES = env.int("PENSTOCK_MAX_REQUEST_BYTES", default=5_000_000)  # decoded
MAX_MESSAGE_BYTES = env.int("PENSTOCK_MAX_MESSAGE_BYTES", default=65_536)
MAX_BATCH_MESSAGES = env.int("PENSTOCK_MAX_BATCH_MESSAGES", default=2_500)
RATE_LIMIT = env.int("PENSTOCK_RATE_LIMIT", default=1_000)  # messages/s of a source; 0: any
ANONYMISE_IP = env.bool("PENSTOCK_ANONYMISE_IP", default=False)
DATA_UPLOAD_MAX_MEMORY_SIZE = None  # MAX_REQUEST_BYTES replaces it and answers as SDKs expect
APPEND_SLASH = True  # for the admin; ingest never redirects

# --- management API --------------------------------------------------------------------------
API_RATE_LIMIT = env.int("PENSTOCK_API_RATE_LIMIT", default=100)  # a minute; 0: any
ACCESS_TOKEN_TTL = env.int("PENSTOCK_ACCESS_TOKEN_TTL", default=900)  # seconds
REFRESH_TOKEN_TTL = env.int("PENSTOCK_REFRESH_TOKEN_TTL", default=604_800)  # seconds

# --- delivery --------------------------------------------------------------------------------
BATCH_SIZE = env.int("PENSTOCK_BATCH_SIZE", default=1_000)  # deliveries read at once
# Private networks that deliveries may go to, such as 10.0.0.0/8 or fd00::/8.
ALLOWED_NETWORKS = env.list("PENSTOCK_ALLOWED_NETWORKS", default=[])
GIVE_UP_DAYS = env.float("PENSTOCK_GIVE_UP_DAYS", default=7.0)

# --- retention, in days ------------------------------------------------------------------------
KEEP_EVENTS_DAYS = env.float("PENSTOCK_KEEP_EVENTS_DAYS", default=30.0)
KEEP_DELIVERIES_DAYS = env.float("PENSTOCK_KEEP_DELIVERIES_DAYS", default=30.0)
KEEP_ATTEMPTS_DAYS = env.float("PENSTOCK_KEEP_ATTEMPTS_DAYS", default=30.0)
KEEP_ATTEMPT_BODIES_DAYS = env.float("PENSTOCK_KEEP_ATTEMPT_BODIES_DAYS", default=7.0)
KEEP_AUDIT_DAYS = env.float("PENSTOCK_KEEP_AUDIT_DAYS", default=90.0)

# --- alerts ------------------------------------------------------------------------------------
ALARM_EMAILS = env.list("PENSTOCK_ALARM_EMAILS", default=[])
ALARM_WEBHOOK_URL = env.secret("PENSTOCK_ALARM_WEBHOOK_URL", default="")
ALARM_WEBHOOK_SECRET = env.secret("PENSTOCK_ALARM_WEBHOOK_SECRET", default="")
ALARM_QUEUED_MINUTES = env.float("PENSTOCK_ALARM_QUEUED_MINUTES", default=1.0)  # 0: off
ALARM_FAILURE_PERCENT = env.float("PENSTOCK_ALARM_FAILURE_PERCENT", default=50.0)  # 0: off
ALARM_SILENT_MINUTES = env.float("PENSTOCK_ALARM_SILENT_MINUTES", default=0.0)  # 0: off
ALARM_SILENT_SOURCES = env.list("PENSTOCK_ALARM_SILENT_SOURCES", default=[])  # by name
EMAIL_URL = env.url_text("EMAIL_URL", sorted(env.EMAIL_SCHEMES), default="")
vars().update(env.email_url_config(EMAIL_URL or "smtp://localhost:25"))
EMAIL_TIMEOUT = 10  # seconds
DEFAULT_FROM_EMAIL = env.str("PENSTOCK_FROM_EMAIL", default="penstock@localhost")

# --- monitoring --------------------------------------------------------------------------------
# Access to /metrics. If both are empty, only this machine has it.
METRICS_TOKEN = env.secret("PENSTOCK_METRICS_TOKEN", default="")
METRICS_NETWORKS = env.list("PENSTOCK_METRICS_NETWORKS", default=[])
READY_FREE_MB = env.int("PENSTOCK_READY_FREE_MB", default=200)  # of disk, or /readyz fails

# --- database and broker ---------------------------------------------------------------------
VAR_DIR = BASE_DIR / "var"
private_files.make_private_folder(VAR_DIR)
DATABASE_URL = env.url_text("DATABASE_URL", ("postgres", "postgresql", "sqlite"), default="")
CONN_MAX_AGE = env.int("PENSTOCK_CONN_MAX_AGE", default=600)
DATABASES = {
    "default": {
        **env.db_url_config(DATABASE_URL or f"sqlite:///{VAR_DIR}/penstock.sqlite3"),
        # seconds; 0 opens a connection for each query, which makes the broker ten times slower
        "CONN_MAX_AGE": CONN_MAX_AGE,
        "CONN_HEALTH_CHECKS": True,
    }
}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    if DATABASES["default"]["NAME"] != ":memory:" and not env.problems:
        private_files.make_private_database(Path(DATABASES["default"]["NAME"]))
    DATABASES["default"]["OPTIONS"] = {
        # By default, two transactions that read before they write fail with "database is locked".
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,  # seconds
        "init_command": (
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA mmap_size=134217728;"
            "PRAGMA journal_size_limit=27103364; PRAGMA cache_size=-20000;"
        ),
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

CLUSTER_WORKERS = env.int("PENSTOCK_CLUSTER_WORKERS", default=4)
CLUSTER_NICE = env.int("PENSTOCK_CLUSTER_NICE", default=5)  # 0 to 19: 19 yields most
LANES_PER_WORKER = env.int("PENSTOCK_LANES_PER_WORKER", default=32)  # most wait for a response
BROKER_URL = env.url_text("BROKER_URL", ("redis", "rediss", "unix"), default="")
Q_CLUSTER = {
    "name": "penstock",
    "workers": CLUSTER_WORKERS,
    "timeout": 60,  # seconds; a drain ends after 20
    "retry": 90,  # seconds; must exceed the timeout
    "max_attempts": 1,
    "ack_failures": True,
    "save_limit": -1,  # our tables are the log; keeping django-q2's makes it ten times slower
    "bulk": 1,
    "queue_limit": CLUSTER_WORKERS * 2,
    "recycle": 100_000,  # tasks; to the supervisor, a planned exit would look like a crash
    "catch_up": False,
    "poll": 0.1,  # seconds
    **({"redis": timeouts.redis_url(BROKER_URL)} if BROKER_URL else {"orm": "default"}),
    "broker_class": "delivery.operations.named_tasks."
    + ("NamedTasksInRedis" if BROKER_URL else "NamedTasksInDatabase"),
}
# The cluster runs no other function, whatever the queue and the schedule name.
CLUSTER_TASKS = {
    f"delivery.tasks.{name}" for name in ("drain", "purge", "replay", "roll_up", "sweep")
}

# --- Django ----------------------------------------------------------------------------------
INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "unfold.contrib.forms",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "rest_framework",
    "axes",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_q",
    "integrations",
    "delivery",
]
MIDDLEWARE = [
    "config.middleware.request_metrics",
    "config.middleware.cookies_without_escapes",
    "config.proxies.trusted_proxies",
    "integrations.request_context.request_context_middleware",
    "config.https.https_only",
    "config.middleware.ingest_fast_path",
    "config.middleware.monitoring_fast_path",
    "config.middleware.body_limit",
    "integrations.api.lockout.login_limit_middleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "config.middleware.page_policy_and_gzip",
    "config.middleware.secure_cookies",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
]
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "integrations.access.login_limits.LimitedModelBackend",
]
# Too many failed logins, in the admin or the API, lock out a user name from one address, so that an
# attacker cannot lock out other people.
AXES_FAILURE_LIMIT = env.int("PENSTOCK_LOGIN_FAILURES", default=5)
LOGIN_LOCK_MINUTES = env.float("PENSTOCK_LOGIN_LOCK_MINUTES", default=15.0)
AXES_COOLOFF_TIME = timedelta(minutes=LOGIN_LOCK_MINUTES)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False  # or further attempts would extend it
AXES_RESET_ON_SUCCESS = True
AXES_CLIENT_IP_CALLABLE = "integrations.api.lockout.get_client_ip"
AXES_LOCKOUT_CALLABLE = "integrations.api.lockout.lockout_response"
AXES_DISABLE_ACCESS_LOG = True  # the audit log has it
AXES_ENABLE_ADMIN = False
AXES_VERBOSE = False
DEFAULT_EXCEPTION_REPORTER = "config.error_pages.MaskingExceptionReporter"
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LANGUAGE_CODE = "en-gb"
TIME_ZONE = "UTC"
USE_TZ = True
LOGIN_REDIRECT_URL = "admin:index"
STATIC_URL = "static/"
WHITENOISE_USE_FINDERS = True  # serves static files without collectstatic

# Pages load nothing from other hosts and have no inline scripts. The theme's Alpine compiles its
# attributes to functions ('unsafe-eval'), and the theme and Chart.js set inline styles.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF, UNSAFE_EVAL],
        "style-src": [SELF, UNSAFE_INLINE],
        "img-src": [SELF, "data:"],  # logos
        "object-src": [NONE],
        "base-uri": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    }
}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["integrations.api.authentication.TokenAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["integrations.api.permissions.ScopeAndRole"],
    "DEFAULT_THROTTLE_CLASSES": ["integrations.api.throttling.TokenRateThrottle"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["integrations.api.parsers.AnyJSONParser"],
    "EXCEPTION_HANDLER": "integrations.api.errors.exception_handler",
    "UNAUTHENTICATED_USER": None,
    "DEFAULT_METADATA_CLASS": None,
    "DEFAULT_SCHEMA_CLASS": "integrations.api.schema.Schema",
}
SPECTACULAR_SETTINGS = {
    "OAS_VERSION": "3.1.1",
    "TITLE": "Penstock",
    "DESCRIPTION": "Everything that the admin can do, and the endpoints that SDKs send to.",
    "VERSION": "1",
    "PREPROCESSING_HOOKS": ["integrations.api.schema.filter_endpoints"],
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "integrations.api.schema.forbid_unknown_fields",
        "integrations.api.examples.add_examples",
        "delivery.ingest.openapi.add_ingest",
    ],
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": [],
    "SERVE_AUTHENTICATION": [],
    "SCHEMA_PATH_PREFIX": "/v1/admin",
    "COMPONENT_SPLIT_PATCH": False,
    "ENUM_NAME_OVERRIDES": {
        "DeliveryState": "delivery.models.deliveries.Delivery.State",
        "ReplayState": "delivery.models.replays.Replay.State",
        "ReplayKind": "delivery.models.replays.Replay.Kind",
        "IncidentKind": "delivery.models.operations.Incident.Kind",
    },
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_SETTINGS": {
        "deepLinking": True,
        "displayRequestDuration": True,
        "docExpansion": "list",
        "filter": True,
        "validatorUrl": "",  # otherwise it sends the schema's URL to a third party
    },
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
}

# --- logs --------------------------------------------------------------------------------------
LOG_LEVEL = env.choice("LOG_LEVEL", ("DEBUG", "INFO", "WARNING", "ERROR"), default="INFO")
LOG_FORMAT = env.choice("LOG_FORMAT", ("text", "json"), default="text")
# A logger's level takes precedence over the root's, so it may only raise it.
WARNINGS_ONLY = {"level": "WARNING" if LOG_LEVEL in ("DEBUG", "INFO") else LOG_LEVEL}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {
        "ids": {"()": "integrations.log_records.IdsFilter"},
        "no_traceback": {"()": "integrations.log_records.NoTracebackFilter"},
    },
    "formatters": {
        "text": {"format": "%(asctime)s %(levelname)s [%(request_id)s] %(name)s: %(message)s"},
        "json": {"()": "integrations.log_records.JsonLines"},
    },
    "handlers": {
        "stderr": {
            "class": "logging.StreamHandler",
            "formatter": LOG_FORMAT,
            "filters": ["ids", "no_traceback"],
        },
    },
    "loggers": {
        "axes": {"level": "ERROR"},  # the audit log records logins; axes masks the name and address
        "django-q": WARNINGS_ONLY,  # it logs two lines for each task
    },
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
}
