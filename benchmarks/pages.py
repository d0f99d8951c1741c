"""Measures the time and the queries that every page of the admin takes with a long log.

    python benchmarks/rows.py postgres://…/penstock_rows
    python benchmarks/pages.py postgres://…/penstock_rows

The pages are requested in this process, through all of Django except the web server, TURNS times
each after a warm-up; the median counts. Each statement is explained. The output names a large table
that a statement reads from end to end, a statement that counts or skips rows without a bound, and a
statement that reads a body for a list. The exit code is 1 if there is any of these, or if a page
takes more than MOST_MS or MOST_QUERIES.
"""

import argparse
import json
import os
import re
import statistics
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import lists  # noqa: E402

TURNS = 7
MOST_MS = 200.0
MOST_QUERIES = 14
# A bounded count is of a subquery with a LIMIT, or of ids that are listed one by one.
UNBOUNDED = re.compile(
    r"COUNT\((?:\*|\"\w+\")[^)]*\)(?!.*(?:LIMIT|\"id\" IN \(\d))|OFFSET [1-9]", re.IGNORECASE
)
LOG = re.compile(r"delivery_(delivery|event|attempt|carried|rejection|replayed)\b")
BODY = re.compile(r"delivery_(event|attempt)body")

# To join the 10,000 rows of a scan with 100,000 attempts, PostgreSQL rightly reads all attempts.
JOINED = ("status:", "delivery_attempt")

INSTALLATION = "integrations/installation/"
# Addresses, and whether each one shows a list. look_up() finds the values for {…}.
PAGES = (
    ("", True),
    ("?span=day", True),
    ("?span=week", True),
    (INSTALLATION, True),
    (f"{INSTALLATION}library/", True),
    (f"{INSTALLATION}library/heap/", True),
    (f"{INSTALLATION}{{all}}/change/", True),
    (f"{INSTALLATION}{{all}}/change/?span=week", True),
    (f"{INSTALLATION}{{quiet}}/change/", True),
    (f"{INSTALLATION}{{standing}}/change/", True),
    (f"{INSTALLATION}{{all}}/blueprint/", False),
    (f"{INSTALLATION}{{all}}/revisions/", True),
    (f"{INSTALLATION}{{all}}/revisions/1/", True),
    (f"{INSTALLATION}{{all}}/settings/", True),
    (f"{INSTALLATION}{{all}}/activity/", True),
    (f"{INSTALLATION}{{all}}/uninstall/", True),
    (f"{INSTALLATION}system/", True),
    ("delivery/delivery/", True),
    ("delivery/delivery/?before={deep}", True),
    ("delivery/delivery/?after={deep}", True),
    ("delivery/delivery/?q=state:failed", True),
    ("delivery/delivery/?q=state:failed&before={deep}", True),
    ("delivery/delivery/?q=state:filtered", True),
    ("delivery/delivery/?q=state:failed+state:queued", True),
    ("delivery/delivery/?q=resolved:no", True),
    ("delivery/delivery/?q=resolved:yes", True),
    ("delivery/delivery/?q=installation:All+resolved:yes", True),
    ("delivery/delivery/all/resolve/?q=installation:All+state:failed", True),
    ("delivery/delivery/all/cancel/?q=installation:Standing", True),
    ("delivery/delivery/?q=state:queued", True),
    ("delivery/delivery/?q=state:delivered", True),
    ("delivery/delivery/?q=-state:delivered", True),
    ("delivery/delivery/?q=installation:Quiet", True),
    ("delivery/delivery/?q=installation:All+state:failed", True),
    ("delivery/delivery/?q=installation:Quiet+state:failed", True),
    ("delivery/delivery/?q=installation:All+since:7d+state:failed", True),
    ("delivery/delivery/?q=installation:Quiet+since:7d", True),
    ("delivery/delivery/?q=installation:All+installation:Quiet", True),
    ("delivery/delivery/?q=installation:All+-installation:Quiet", True),
    ("delivery/delivery/?q=installation:Quiet+event:Never", True),
    ("delivery/delivery/?q=installation:All+event:Never", True),
    ("delivery/delivery/?q=user:{user}", True),
    ("delivery/delivery/?q=user:{user}+state:failed+event:Never", True),
    ("delivery/delivery/?q=user:nobody", True),
    ("delivery/delivery/?q=anon:{visitor}", True),
    ("delivery/delivery/?q=message:{message}", True),
    ("delivery/delivery/?q={message}", True),
    ("delivery/delivery/?q=delivery:{delivery}", True),
    ("delivery/delivery/?q=request:{attempt}", True),
    ("delivery/delivery/?q=replay:{replay}", True),
    ("delivery/delivery/?q=trigger:auto", True),
    ("delivery/delivery/?q=trigger:hand", True),
    ("delivery/delivery/?q=trigger:replay", True),
    ("delivery/delivery/?q=trigger:backfill", True),
    ("delivery/delivery/?q=-trigger:auto", True),
    ("delivery/delivery/?q=event:%22Account+Deleted%22", True),
    ("delivery/delivery/?q=event:Never", True),
    ("delivery/delivery/?q=event:Acc*", True),
    ("delivery/delivery/?q=event:Never&before={deep}", True),
    ("delivery/delivery/?q=-event:Acc*", True),
    ("delivery/delivery/?q=type:page", True),
    ("delivery/delivery/?q=source:Webshop", True),
    ("delivery/delivery/?q=source:Webshop+event:Never+-status:503", True),
    ("delivery/delivery/?q=error:MessageRejected", True),
    ("delivery/delivery/?q=error:TooLarge", True),
    ("delivery/delivery/?q=attempts:>3", True),
    ("delivery/delivery/?q=status:none", True),
    ("delivery/delivery/?q=status:503", True),
    ("delivery/delivery/?q=status:5xx+attempts:>3", True),
    ("delivery/delivery/?q=since:1h", True),
    ("delivery/delivery/?q=since:1h+event:Never", True),
    ("delivery/delivery/?q=until:1h", True),
    ("delivery/delivery/?q=until:20d+event:Never", True),
    ("delivery/delivery/?q=since:7d+until:6d", True),
    ("delivery/delivery/?q=since:7d+until:6d+state:failed", True),
    ("delivery/delivery/?q=since:29d+status:503", True),
    ("delivery/delivery/rows/", True),
    ("delivery/delivery/rows/?q=event:Never", True),
    ("delivery/delivery/summary/", True),
    ("delivery/delivery/summary/?q=event:Never", True),
    ("delivery/delivery/suggest/?key=event&text=acc", True),
    ("delivery/delivery/suggest/?key=installation&text=p", True),
    ("delivery/delivery/{delivery}/change/", False),
    ("delivery/delivery/{failed}/change/", False),
    ("delivery/delivery/{delivery}/raw/", False),
    ("delivery/attempt/", True),
    ("delivery/attempt/?before={deep_attempt}", True),
    ("delivery/attempt/{attempt}/change/", False),
    ("delivery/event/", True),
    ("delivery/event/?before={deep_event}", True),
    ("delivery/event/?event=Never", True),
    ("delivery/event/?event=Never&before={deep_event}", True),
    ("delivery/event/?source=1&type=track", True),
    ("delivery/event/?q={user}", True),
    ("delivery/event/{event}/change/", False),
    ("delivery/event/{event}/raw/", False),
    ("delivery/event/user/?id={user}", True),
    ("delivery/event/user/?id={user}&before={event}", True),
    ("delivery/event/user/?id={visitor}", True),
    ("delivery/rejection/", True),
    ("delivery/rejection/?source=1", True),
    ("delivery/rejection/{rejection}/change/", False),
    ("delivery/replay/", True),
    ("delivery/replay/new/", True),
    ("delivery/replay/{replay}/change/", True),
    ("delivery/incident/", True),
    ("delivery/incident/{incident}/change/", True),
    ("integrations/source/", True),
    ("integrations/source/add/", True),
    ("integrations/source/1/", True),
    ("integrations/source/1/change/", True),
    ("integrations/webhooksource/", True),
    ("integrations/webhooksource/add/", True),
    ("integrations/apitoken/", True),
    ("integrations/apitoken/add/", True),
    ("integrations/auditentry/", True),
    ("auth/user/", True),
    ("auth/user/add/", True),
    ("auth/group/", True),
    ("search/?s=heap", True),
)


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a page.

    whole  large tables that it reads from end to end
    wrong  statements that count or skip rows without a bound, or read a body for a list
    """

    page: str
    ms: float
    queries: int
    whole: list[str]
    wrong: list[str]


def measure(*, turns: int = TURNS) -> list[Cost]:
    """Return what each page costs. Django must be set up for the database to measure."""
    from django.conf import settings
    from django.test import Client

    settings.ALLOWED_HOSTS = ["testserver"]
    client, facts = Client(), look_up()
    client.force_login(someone())
    return [
        cost(client, f"/admin/{page.format(**facts)}", page, turns, is_list)
        for page, is_list in PAGES
    ]


def cost(client, address, page, turns, is_list):
    statements = captured(client, address)
    times = [lists.timed(client, address) for _ in range(turns)]
    wrong = [sql[:300] for sql in statements if LOG.search(sql) and UNBOUNDED.search(sql)]
    if is_list:
        wrong += [sql[:300] for sql in statements if BODY.search(sql)]
    ms = round(statistics.median(times), 1)
    asked, joined = JOINED
    whole = [each for each in lists.whole_of(statements) if asked not in page or each != joined]
    return Cost(page, ms, len(statements), whole, wrong)


def captured(client, address):
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as queries:
        response = client.get(address)
        assert response.status_code == 200, (address, response.status_code)
    return [each["sql"] for each in queries]


def someone():
    from django.contrib.auth.models import User

    user, _ = User.objects.get_or_create(username="pages", is_staff=True, is_superuser=True)
    return user


def look_up():
    """Return the values that the addresses need, as found in this database."""
    from delivery.models import Attempt, Delivery, Event, Incident, Rejection, Replay
    from integrations.models import Installation

    ids = dict(Installation.objects.values_list("name", "pk"))
    newest = Event.objects.exclude(user_id="").latest("pk")
    failed = Delivery.objects.filter(state="failed").order_by("-pk")
    last = Delivery.objects.exclude(last_attempt=None).latest("pk")
    return {
        "all": ids["All"], "quiet": ids["Quiet"], "standing": ids["Standing"],
        "deep": last.pk // 2, "deep_event": newest.pk // 2,
        "deep_attempt": Attempt.objects.latest("pk").pk // 2,
        "user": newest.user_id, "visitor": newest.anonymous_id, "message": newest.message_id,
        "delivery": last.pk, "failed": failed.values_list("pk", flat=True)[0],
        "attempt": Attempt.objects.latest("pk").pk, "event": newest.pk,
        "rejection": Rejection.objects.latest("pk").pk, "replay": Replay.objects.latest("pk").pk,
        "incident": Incident.objects.latest("pk").pk,
    }  # fmt: skip


def main() -> int:
    """Measure, print a line for each page, and return the exit code."""
    from benchmarks.run import environment

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("database", help="postgres://user@host:port/name, filled by rows.py")
    parser.add_argument("--turns", type=int, default=TURNS, help="requests of each page")
    options = parser.parse_args()
    url = options.database
    os.environ.update({**environment(url, "", ROOT), "LOG_LEVEL": "ERROR"})
    import django

    django.setup()
    bad = 0
    for each in measure(turns=options.turns):
        print(json.dumps(asdict(each)))
        is_bad = each.ms > MOST_MS or each.queries > MOST_QUERIES or each.whole or each.wrong
        bad += bool(is_bad)
        mark = "  ← " + ", ".join(each.whole + each.wrong) if is_bad else ""
        print(f"{each.page:66}{each.ms:8.1f} ms{each.queries:4}{mark}", file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
