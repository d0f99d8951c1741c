"""The events to send: about 1 KB each, and the same in every run except for their ids.

Four of five are `track` with an order and its products, half of them from known users and half from
anonymous visitors; one of five is `identify` with traits and a userId. No event has both ids,
because the first such pair of a visitor would cost Heap's `identify`, which has no bulk form, one
request of its own.
"""

from random import Random
from typing import Any

USERS = VISITORS = 5_000
NAMES = ("Order Completed", "Checkout Started", "Product Added", "Product Viewed", "Cart Viewed")
CITIES = ("Zürich", "Lyon", "Porto", "Gdańsk", "Malmö", "Graz")
AGENT = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/17.5 Safari/605.1.15"
)
CONTEXT = {
    "library": {"name": "analytics-python", "version": "2.3.4"},
    "page": {"url": "https://shop.example/checkout?step=2", "path": "/checkout"},
    "userAgent": AGENT,
    "ip": "203.0.113.7",
    "locale": "de-CH",
    "timezone": "Europe/Zurich",
    "campaign": {"name": "autumn", "source": "newsletter", "medium": "email", "content": "cups"},
    "screen": {"width": 1440, "height": 900, "density": 2},
}


def messages(prefix: str, count: int) -> list[dict[str, Any]]:
    """Return messages with the ids `prefix-0`, `prefix-1` …"""
    dice = Random(2)
    return [_message(f"{prefix}-{n}", dice) for n in range(count)]


def _message(message_id: str, dice: Random) -> dict[str, Any]:
    make = _identify if dice.random() < 0.2 else _track
    return {
        **make(dice),
        "messageId": message_id,
        "timestamp": f"2026-11-21T08:{dice.randrange(60):02}:{dice.randrange(60):02}.250Z",
        "context": CONTEXT,
    }


def _track(dice: Random) -> dict[str, Any]:
    if dice.random() < 0.5:
        who = {"userId": _user(dice)}
    else:
        who = {"anonymousId": f"4f0c5b1e-7c1a-4e0e-9d3e-{dice.randrange(VISITORS):012}"}
    products = [_product(dice) for _ in range(2)]
    order = {
        "order_id": f"o-{dice.randrange(10**8)}",
        "total": round(sum(each["price"] * each["quantity"] for each in products), 2),
        "currency": "CHF",
        "shipping": {"method": "post", "city": dice.choice(CITIES), "days": 2},
        "products": products,
    }
    return {"type": "track", "event": dice.choice(NAMES), **who, "properties": order}


def _product(dice: Random) -> dict[str, Any]:
    number = dice.randrange(9_000)
    return {
        "product_id": f"p-{number}",
        "sku": f"SKU-{number:05}-B",
        "name": f"Enamel cup number {number}",
        "price": dice.randrange(100, 9_900) / 100,
        "quantity": dice.randrange(1, 4),
    }


def _identify(dice: Random) -> dict[str, Any]:
    user = _user(dice)
    traits = {
        "name": f"Ada Example {user}",
        "email": f"{user}@shop.example",
        "plan": dice.choice(("free", "pro", "team")),
        "created_at": "2025-03-04T05:06:07Z",
        "logins": dice.randrange(400),
        "newsletter": True,
        "address": {"city": dice.choice(CITIES), "country": "CH", "postal_code": "8001"},
        "company": {"name": "Example Works", "industry": "Retail", "employees": 120},
        "about": "Collects enamel cups, and buys them as presents more often than for herself. "
        "Found us at a market and has come back every other month since.",
    }
    return {"type": "identify", "userId": user, "traits": traits}


def _user(dice: Random) -> str:
    return f"user-{dice.randrange(USERS)}"
