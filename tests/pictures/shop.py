"""A day and an hour of an ordinary shop, which the pictures show.

The data is made by the product itself: the API, ingest, workers, the sweep, and a vendor that
sometimes fails. Only the clock is replaced, and the random numbers have a fixed seed.
"""

import json
from base64 import b64encode
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from hmac import digest
from itertools import count
from os import environ
from random import Random
from typing import Any

import requests
from django.test import Client
from django.utils import timezone

from delivery import tasks
from delivery.models import Lane, Replay
from delivery.replay import job, pace
from delivery.worker import drain

MINUTE = timedelta(minutes=1)
DAY = [-24 * 60 + 20 * turn for turn in range(69)]  # minutes from now, sparser than those of HOUR
HOUR = range(-60, 0)
WEBHOOK_SECRET = "whsec-5b1"

PRODUCTS = [
    {"product_id": "cup-blue", "name": "Cup, blue", "category": "Kitchen", "price": 12.5},
    {"product_id": "tea-green", "name": "Green tea, 100 g", "category": "Food", "price": 8.9},
    {"product_id": "pot-small", "name": "Teapot, small", "category": "Kitchen", "price": 34.0},
    {"product_id": "tray-oak", "name": "Tray, oak", "category": "Kitchen", "price": 27.0},
    {"product_id": "kettle", "name": "Kettle, 1.2 l", "category": "Kitchen", "price": 59.0},
]
SOURCES = ["iOS app", "Order service", "Newsletter"]
INSTALLATIONS = [
    {"name": "Heap Production", "config": {"app_id": "1204501337", "api_key": "a-key-5b1"}},
    {"name": "Heap EU", "config": {"app_id": "2204501337"}},
    {"name": "Heap Marketing", "config": {"app_id": "3204501337"}, "variant": "retail"},
    {"name": "Heap Staging", "config": {"app_id": "4204501337"}, "variant": "segment-parity"},
]
PRODUCTION, EU, MARKETING, STAGING = (each["config"]["app_id"] for each in INSTALLATIONS)
INSTALLATION_SOURCES = {"Heap EU": ["Webshop", "iOS app"], "Heap Staging": ["Webshop"]}
USERS = {
    "ada": "org_admin",
    "bob": "source_admin",
    "carol": "source_editor",
    "dan": "source_viewer",
    "eve": "data_governance_admin",
}
TOKENS = {
    "Deployments": ["installations:write", "installations:read"],
    "Dashboard": ["deliveries:read", "events:read"],
    "Old dashboard": ["deliveries:read"],
}
WEBHOOK = {
    "name": "Payments",
    "source_type": "hmac",
    "secret": WEBHOOK_SECRET,
    "event_type_path": "$.type",
    "mappings": {"userId": "$.customer.id", "properties": "$.payment"},
}
PAYMENT = {
    "type": "Payment Received",
    "id": "pay-7001",
    "customer": {"id": "customer-1003"},
    "payment": {"amount": 51.5, "currency": "EUR", "method": "invoice"},
}

# Responses of the vendor. It always rejects orders A-6… because of their total, and orders A-4…
# until `Shop.fix_vendor`.
TOTAL = "postBody.events[0].properties.total should be >= 0"
COUPON = "postBody.events[0].properties.coupon should NOT be longer than 1024 characters"
REJECT_TOTAL = {"match": '"A-6', "status": 400, "times": 0, "body": TOTAL}
REJECT_COUPON = {"match": '"A-4', "status": 400, "times": 0, "body": COUPON}
UNAVAILABLE = {"status": 503, "times": 0, "body": "upstream connect error"}
BAD_CREDENTIALS = {
    "match": MARKETING,
    "status": 401,
    "times": 0,
    "body": "Unknown app_id or api_key",
}
USUAL_FAULTS = [REJECT_TOTAL, {"delay_s": 0.02, "times": 0}]


def set_vendor_faults(faults: Sequence[Any]) -> None:
    """Set the next responses of the vendor."""
    url = f"{environ['PENSTOCK_SANDBOX_URL']}/_sandbox/faults"
    requests.post(url, json=faults, timeout=10).raise_for_status()


class Shop:
    """A shop; `open` runs its day.

    clock   replaces timezone.now since before any module of Penstock was imported
    ids     ids that the addresses of pages need, by name
    faults  the current faults of the vendor
    """

    def __init__(self, clock: Any):
        self.clock, self.chance = clock, Random(1)
        self.client, self.now = Client(headers={"host": "localhost"}), datetime.now(UTC)
        self.orders, self.messages = 1_000, 0
        self.ids: dict[str, int] = {"Webshop": 1}
        self.faults: tuple[Any, ...] = ()
        self.headers = {"authorization": f"Bearer {environ['PENSTOCK_API_TOKEN']}"}

    def open(self) -> None:
        drain.IDLE_STAY = drain.SHORT_WAIT = 0  # a wait by another clock would never end
        self.clock.set(self.now + (DAY[0] - 1) * MINUTE)
        self.script(*USUAL_FAULTS)
        self.set_up()
        turns: dict[int, Any] = {
            DAY[20]: lambda: self.script(REJECT_COUPON, *USUAL_FAULTS),
            DAY[23]: self.fix_vendor,
            -42: lambda: self.script({**UNAVAILABLE, "match": PRODUCTION}, *USUAL_FAULTS),
            -37: lambda: self.script(*USUAL_FAULTS),
            -33: lambda: self.call("POST", f"installations/{self.ids['Heap Staging']}/disable"),
            -26: lambda: self.script(BAD_CREDENTIALS, *USUAL_FAULTS),
            -14: lambda: self.script({**UNAVAILABLE, "match": EU}, BAD_CREDENTIALS, *USUAL_FAULTS),
            -9: self.resolve,
            -8: self.edit,
        }
        for minute in self.minutes():
            self.clock.set(self.now + minute * MINUTE)
            turns.get(minute, lambda: None)()
            self.send_traffic(minute)
            self.work()
        self.clock.ahead = timedelta()
        self.call("POST", "replays", self.replay_body("Heap Production", ["delivered"], rate=20))
        self.collect_ids()

    def minutes(self) -> Iterator[int]:
        """Yield the minutes with events, from yesterday until the present, which moves on while
        the shop runs."""
        yield from (*DAY, *HOUR)
        for minute in count():
            if self.now + minute * MINUTE > datetime.now(UTC):
                return
            yield minute

    def collect_ids(self) -> None:
        """Look up the ids of objects whose pages are shown."""
        wanted = {
            "failed": "deliveries?q=state:failed+attempts:>4+resolved:no",
            "resolved": "deliveries?q=resolved:yes",
            "rejection": "rejections",
            "replay": "replays",
            "incident": "incidents?kind=attention",
        }
        for name, path in wanted.items():
            self.ids[name] = self.call("GET", path)["data"][0]["id"]
        self.ids["event"] = self.call("GET", f"deliveries/{self.ids['failed']}")["event"]["id"]

    def script(self, *faults: Any) -> None:
        self.faults = faults
        set_vendor_faults(faults)

    # --- API -----------------------------------------------------------------------------------

    def call(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.client.generic(
            method, f"/v1/admin/{path}", json.dumps(body) if body else b"",
            content_type="application/json", headers=self.headers,
        )  # fmt: skip
        assert answer.status_code < 300, (path, answer.content)
        return answer.json() if answer.content else None

    def set_up(self) -> None:
        self.call(
            "PATCH",
            f"sources/{self.ids['Webshop']}",
            {"name": "Webshop", "allowed_origins": ["https://shop.example"]},
        )
        self.keys = {"Webshop": environ["PENSTOCK_WRITE_KEY"]}
        for name in SOURCES:
            made = self.call("POST", "sources", {"name": name})
            self.ids[name], self.keys[name] = made["id"], made["write_key"]
        self.call("POST", "sources/1/keys", {"note": "The blog"})
        self.call("DELETE", f"sources/{self.ids['Newsletter']}")
        for each in INSTALLATIONS:
            wanted = {**each, "config": {**each["config"], "region": "sandbox"}}
            made = self.call("POST", "integration-catalog/heap/install", wanted)
            self.ids[each["name"]] = made["id"]
        for name, sources in INSTALLATION_SOURCES.items():
            source_ids = [self.ids[each] for each in sources]
            self.call("PATCH", f"installations/{self.ids[name]}", {"sources": source_ids})
        for name, role in USERS.items():
            wanted = {"username": name, "role": role, "email": f"{name}@shop.example"}
            self.ids[name] = self.call(
                "POST", "users", {**wanted, "password": environ["PENSTOCK_ADMIN_PASSWORD"]}
            )["id"]
        for name, scopes in TOKENS.items():
            made = self.call("POST", "tokens", {"name": name, "scopes": scopes})
            self.ids[name] = made["id"]
        self.call("DELETE", f"tokens/{self.ids['Old dashboard']}")
        made = self.call(
            "POST", "webhook-sources", {**WEBHOOK, "source": self.ids["Order service"]}
        )
        self.ids["Payments"], self.webhook = made["id"], made["address"]

    def replay_body(self, installation: str, states: list[str], **more: Any) -> dict[str, Any]:
        return {"installation": self.ids[installation], "states": states, **more}

    def fix_vendor(self) -> None:
        self.script(*USUAL_FAULTS)
        self.call("POST", "replays", self.replay_body("Heap Production", ["failed"]))

    def resolve(self) -> None:
        found = self.call("GET", "deliveries?q=state:failed+event:%22Order+Refunded%22")["data"]
        note = "Refunded by hand, and entered at the vendor's."
        self.call("POST", f"deliveries/{found[0]['id']}/resolve", {"note": note})

    def edit(self) -> None:
        """Save a second revision of a blueprint."""
        pk = self.ids["Heap Marketing"]
        newest = self.call("GET", f"installations/{pk}/revisions/1")
        blueprint = newest["blueprint"]
        blueprint["actions"][0]["mapping"]["properties"]["campaign"] = {
            "@path": "$.context.campaign.name"
        }
        change = {"blueprint": blueprint, "change_summary": "Send the campaign, too"}
        self.call("POST", f"installations/{pk}/revisions", change)

    # --- customers -----------------------------------------------------------------------------

    def send_traffic(self, minute: int) -> None:
        """Send the messages of this minute, each from its source."""
        busy = 8.0 if minute < HOUR[0] else 1.5 + 1.5 * (minute % 17 in (3, 4, 5))
        visits = [self.visit() for _ in range(round(busy + self.chance.random()))]
        browser = [each for visit in visits for each in visit]
        source = "iOS app" if self.chance.random() < 0.3 else "Webshop"
        self.send(source, [each for each in browser if each["event"] != "Order Completed"])
        orders = [each for each in browser if each["event"] == "Order Completed"]
        self.send("Order service", [*orders, *self.faulty_messages(minute)])
        if minute in (-52, -29, -11):
            self.send_rejected_message()
        if minute == -20:
            self.pay()

    def visit(self) -> list[dict[str, Any]]:
        """Return the messages of one visitor, who may add a product to the cart and order it."""
        number, chance = self.chance.randrange(1_000, 1_012), self.chance
        who = {"anonymousId": f"visitor-{number}"}
        product = chance.choice(PRODUCTS)
        steps = [
            self.message("page", who, "Home", {"url": "https://shop.example/"}),
            self.message("track", who, "Product Viewed", {**product, "currency": "EUR"}),
        ]
        if chance.random() < 0.6:
            steps += [self.message("track", who, "Product Added", {**product, "quantity": 1})]
        if chance.random() < 0.4:
            known = {**who, "userId": f"customer-{number}"}
            traits = {"email": f"customer-{number}@example.com", "plan": "pro"}
            steps += [
                {**self.message("identify", known, "", {}), "traits": traits},
                self.order(known, [product]),
            ]
        return steps

    def order(self, who: dict[str, str], products: list[dict[str, Any]], letter: str = "A-") -> Any:
        self.orders += 1
        facts = {
            "order_id": f"{letter}{self.orders}",
            "total": sum(each["price"] for each in products),
            "currency": "EUR",
            "is_gift": self.chance.random() < 0.2,
            "products": products,
        }
        return self.message("track", who, "Order Completed", facts)

    def faulty_messages(self, minute: int) -> Iterator[dict[str, Any]]:
        who = {"userId": "customer-1003", "anonymousId": "visitor-1003"}
        if minute in (-41, -18, -17):
            order = self.order(who, PRODUCTS[:2], "A-6")
            order["properties"]["total"] *= -1  # a correction that was booked as an order
            yield order
        if minute == -12:
            facts = {"order_id": "A-61008", "total": -34.0, "currency": "EUR"}
            yield self.message("track", who, "Order Refunded", facts)
        if DAY[20] <= minute < DAY[23]:
            yield self.order(who, PRODUCTS[2:3], "A-4")

    def message(self, kind: str, who: dict[str, str], event: str, facts: Any) -> dict[str, Any]:
        self.messages += 1
        name = {"name": event} if kind == "page" else {}
        page = {"path": "/", "url": "https://shop.example/", "title": "Tea and more"}
        return {
            "type": kind, "event": event, **name, **who, "properties": facts,
            "messageId": f"{sha256(str(self.messages).encode()).hexdigest()[:16]}",
            "timestamp": (timezone.now() - self.chance.random() * MINUTE / 6).isoformat(),
            "context": {"page": page, "campaign": {"name": "autumn"}, "locale": "en-GB"},
        }  # fmt: skip

    def send(self, source: str, messages: list[dict[str, Any]]) -> None:
        if messages:
            named = [{k: v for k, v in each.items() if v != ""} for each in messages]
            answer = self.post("batch", {"batch": named}, source)
            assert answer.status_code == 200, answer.content

    def post(self, path: str, body: Any, source: str, **headers: str) -> Any:
        key = b64encode(f"{self.keys[source]}:".encode()).decode()
        return self.client.post(
            f"/v1/{path}", json.dumps(body), content_type="application/json",
            headers={"authorization": f"Basic {key}", **headers},
        )  # fmt: skip

    def send_rejected_message(self) -> None:
        bad = {"type": "track", "event": "", "userId": "customer-1008", "properties": {"total": 12}}
        assert self.post("track", bad, "iOS app").status_code == 400

    def pay(self) -> None:
        body = json.dumps(PAYMENT)
        signature = digest(WEBHOOK_SECRET.encode(), body.encode(), sha256).hex()
        answer = self.client.post(
            self.webhook, body, content_type="application/json",
            headers={"x-signature": signature},
        )  # fmt: skip
        assert answer.status_code == 200, answer.content

    # --- cluster -------------------------------------------------------------------------------

    def work(self) -> None:
        for pk in Replay.objects.filter(state="running").values_list("pk", flat=True):
            job.step_replay(pk, pace.ReplayWindow(), timezone.now())
        for lane in Lane.objects.order_by("pk"):
            drain.drain_lane(lane.pk)
        tasks.sweep()
