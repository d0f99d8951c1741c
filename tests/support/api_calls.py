"""Every call of the API, the arguments with which it succeeds, and a server to call."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests
import yaml

from tests.conftest import find_free_port
from tests.support import databases, processes

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = yaml.safe_load((ROOT / "schema.yml").read_text())
OPERATIONS = {
    (path, method.upper()): operation
    for path, methods in SCHEMA["paths"].items()
    for method, operation in methods.items()
}

TOKEN = "pst_fuzz-0123456789-0123456789"
WRITE_KEY = "wk_fuzz-0123456789"

MESSAGE = {"type": "track", "event": "Signed Up", "userId": "ada"}
BLUEPRINT = {"version": 1, "actions": [], "otherwise": "pass"}
# The arguments of each call of the generated client; a call that is not listed needs none.
CALL_ARGUMENTS = {
    "attempts_retrieve": {"id": 1},
    "attempts_reveal_create": {"id": 1},
    "events_retrieve": {"id": 1},
    "events_reveal_create": {"id": 1},
    "installations_create": {
        "body": {"destination": "heap", "name": "Heap 3", "config": {"app_id": "42"}},
    },
    "installations_retrieve": {"id": 1},
    "installations_partial_update": {"id": 1, "body": {"lane_count": 2, "sources": [1]}},
    "installations_disable_create": {"id": 1},
    "installations_enable_create": {"id": 1},
    "installations_resume_create": {"id": 1},
    "installations_destroy": {"id": 1, "confirm": "Heap"},
    "installations_preview_create": {"id": 1, "body": {"message": MESSAGE}},
    "installations_revisions_list": {"id": 1},
    "installations_revisions_create": {"id": 1, "body": {"blueprint": BLUEPRINT}},
    "installations_revisions_retrieve": {"id": 1, "revision": 1},
    "installations_revisions_diff_list": {"id": 1, "revision": 1},
    "installations_revisions_roll_back_create": {"id": 1, "revision": 1},
    "installations_test_connection_create": {"id": 1},
    "installations_test_event_create": {"id": 1, "body": {"message": MESSAGE}},
    "sources_create": {"body": {"name": "App"}},
    "sources_retrieve": {"id": 1},
    "sources_partial_update": {"id": 1, "body": {"rate_limit": 5}},
    "sources_keys_create": {"id": 1, "body": {"note": "The app"}},
    "sources_rotate_key_create": {"id": 1, "body": {"overlap_hours": 1}},
    "sources_signing_secret_create": {"id": 1},
    "sources_keys_destroy": {"id": 1, "key": 1},
    "sources_destroy": {"id": 1},
    "webhook_sources_create": {
        "body": {
            "name": "Shop",
            "source": 1,
            "source_type": "hmac",
            "secret": "whsec-5b1",
            "mappings": {"userId": "$.customer.id"},
        },
    },
    "webhook_sources_retrieve": {"id": 1},
    "webhook_sources_partial_update": {"id": 1, "body": {"event_type_path": "$.type"}},
    "webhook_sources_destroy": {"id": 1},
    "incidents_retrieve": {"id": 1},
    "auth_login_create": {"body": {"username": "clerk", "password": "correct-horse-5b1"}},
    "auth_refresh_create": {"body": {"refresh_token": "…"}},
    "deliveries_retrieve": {"id": 1},
    "deliveries_export_list": {"format": "ndjson"},
    "deliveries_deliver_many_again": {"body": {"ids": [2]}},
    "deliveries_resolve_many": {"body": {"ids": [6], "note": "Sent by hand."}},
    "deliveries_resolve_create": {"id": 5, "body": {"note": "Sent by hand."}},
    "deliveries_cancel_many": {"body": {"ids": [4]}},
    "deliveries_cancel_create": {"id": 3},
    "deliveries_reveal_create": {"id": 1},
    "rejections_reveal_create": {"id": 1},
    "deliveries_deliver_again_create": {"id": 1, "body": {"blueprint": "current"}},
    "integration_catalog_retrieve": {"key": "heap"},
    "integration_catalog_install_create": {
        "key": "heap",
        "body": {"name": "Heap 2", "config": {"app_id": "42", "api_key": "a-key-5b1"}},
    },
    "replays_create": {"body": {"installation": 1}},
    "replays_preview_create": {"body": {"installation": 1}},
    "replays_retrieve": {"id": 1},
    "replays_pause_create": {"id": 1},
    "replays_resume_create": {"id": 1},
    "replays_cancel_create": {"id": 1},
    "tokens_create": {"body": {"name": "CI", "scopes": ["users:read"]}},
    "tokens_destroy": {"id": 2},
    "users_create": {"body": {"username": "ada", "role": "source_viewer"}},
    "users_retrieve": {"id": 1},
    "users_partial_update": {"id": 2, "body": {"name": "A clerk"}},
    "users_destroy": {"id": 2},
}
# These calls are refused, because there is no login to refresh or to log out of.
EXPECTED_REFUSALS = {"auth_refresh_create": 401, "auth_logout_create": 409}


def is_destructive(path, method):
    """Return whether the call ends something that other calls need."""
    return method == "DELETE" or path.endswith("/cancel")


# --- a server to call --------------------------------------------------------------------------


@contextmanager
def running_server(folder: Path) -> Iterator[str]:
    """Start the web server on a database with a few rows of every kind, and yield its address.

    The id of its token is far above the ids in generated calls.
    """
    port = find_free_port()
    env = processes.environment(
        databases.new_sqlite(folder),
        PENSTOCK_SANDBOX_URL="http://127.0.0.1:9",  # nothing listens there
        PENSTOCK_API_TOKEN=TOKEN,
        PENSTOCK_WRITE_KEY=WRITE_KEY,
        PENSTOCK_LOGIN_FAILURES="1000000",
        LOG_LEVEL="ERROR",
    )
    processes.manage(env, "shell", "-c", PREPARE_SCRIPT)
    command = [
        *(sys.executable, "-m", "granian", "--interface", "rsgi", "config.rsgi:application"),
        *("--host", "127.0.0.1", "--port", str(port), "--workers", "1", "--loop", "asyncio"),
    ]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, cwd=ROOT, env=env, **quiet)
    try:
        processes.eventually(lambda: is_responding(port), 120)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


PREPARE_SCRIPT = """
from datetime import timedelta
from django.core.management import call_command
from django.contrib.auth.models import User
from django.utils import timezone
from delivery.models import Incident, Rejection
from integrations.access import users
from integrations.models import ApiToken, Source
from integrations.sources import manage, webhooks
from tests.support.factories import *

call_command("bootstrap")
make_token(make_user("clerk", role="source_viewer"))
clerk, admin = User.objects.get(username="clerk"), User.objects.get(username="admin")
users.change_user(clerk, {"password": "correct-horse-5b1"}, by=admin)
ApiToken.objects.filter(name="bootstrap").update(id=10**12)
installation = make_installation(config={**CONFIG, "region": "sandbox"})
source, now = Source.objects.get(), timezone.now()
manage.add_write_key(source, note="An older app")
webhooks.create_webhook_source(
    {"name": "Billing", "source": source.pk, "source_type": "stripe", "secret": "whsec"}
)
for state in ("failed", "failed", "queued", "queued", "failed", "failed"):
    event = make_event(source, anonymous_id="b7d1c0de-55aa")
    make_attempt(make_delivery(installation, event, state=state, error="MessageRejected"))
Rejection.objects.create(source=source, reason="event: is missing", text='{"type": "track"}')
Incident.objects.create(
    kind="late", subject=f"installation:{installation.pk}", about="Heap", seen_at=now,
    text="The oldest delivery has been queued for 16 minutes", opened_at=now - timedelta(minutes=2),
)
"""


def is_responding(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/healthz", timeout=1).ok
    except requests.RequestException:
        return False
