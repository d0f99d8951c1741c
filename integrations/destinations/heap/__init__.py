"""Heap: product analytics."""

from integrations.destination import ConfigField, Destination, Endpoint, Option, Variant
from integrations.destinations.heap.api import (
    COUNT_IDS_PER_SOURCE,
    ITEM_BUILDERS,
    build_items,
    build_request,
    monthly_allowances,
    published_limits,
)
from integrations.destinations.heap.connection import connection_probes
from integrations.destinations.heap.guide import SETUP_STEPS, TROUBLESHOOTING
from integrations.destinations.heap.people import VISITOR_IDENTITY

DESTINATION = Destination(
    key="heap",
    name="Heap",
    # RudderStack's name for it, and those of Segment's newer destinations
    aliases=("Heap.io", "Heap (Actions)", "Heap Cloud (Actions)", "Actions Heap"),
    description="Product analytics: events and the properties of users and accounts, sent from "
    "your server to Heap's server-side API.",
    category="analytics",
    status="beta",
    website="https://www.heap.io/",
    config_fields=(
        ConfigField(
            key="app_id",
            label="App ID",
            help_text="The number of your Heap environment, from Account › Manage › Projects. "
            "Production and Development each have their own.",
            placeholder="1234567890",
            pattern=r"[0-9]{1,20}",
            pattern_help="Digits only, such as 1234567890.",
        ),
        ConfigField(
            key="api_key",
            label="API key",
            type="secret",
            required=False,
            help_text="Leave empty to send events. Heap requires a key only to delete users, and "
            "Penstock stores it, encrypted, for that purpose alone. An admin creates it under "
            "Account › Manage › Privacy & Security.",
        ),
        ConfigField(
            key="region",
            label="Region",
            type="select",
            help_text="Where Heap stores your data. An App ID exists in one region only.",
            options=(
                Option(value="us", label="United States (heapanalytics.com)"),
                Option(value="eu", label="European Union (c.eu.heap-api.com)"),
                Option(value="sandbox", label="Sandbox (try it locally, without a Heap account)"),
            ),
            default="us",
        ),
        ConfigField(
            key="arrays",
            label="Arrays",
            type="select",
            help_text="Heap accepts only text and numbers, not lists. Lists of objects are never "
            "joined; they are sent as JSON.",
            options=(
                Option(value="json", label='As JSON: ["red","blue"]'),
                Option(value="join", label="Joined, as Heap joins them: red||blue"),
                Option(value="index", label="One property per item: colors.0, colors.1"),
                Option(value="drop", label="Not sent"),
            ),
            default="json",
            advanced=True,
        ),
        ConfigField(
            key="objects",
            label="Objects",
            type="select",
            help_text="Heap does not accept nested objects as values of properties.",
            options=(
                Option(value="flatten", label="Flattened: cart.total, cart.items"),
                Option(value="stringify", label='As JSON: {"total":5,"items":2}'),
                Option(value="drop", label="Not sent"),
            ),
            default="flatten",
            advanced=True,
        ),
        ConfigField(
            key="visitors",
            label="Anonymous visitors",
            type="select",
            help_text="How Heap identifies a visitor who has no userId. A number can be linked to "
            "a user later. An identity permanently makes each visitor a user of its own, so "
            "choose it only if your data in Heap already has this form.",
            options=(
                Option(value="number", label="By a number derived from the anonymousId"),
                Option(value=VISITOR_IDENTITY, label="By the anonymousId, as an identity"),
            ),
            default="number",
            advanced=True,
        ),
        ConfigField(
            key="same_ids",
            label="Equal message ids from two sources",
            type="select",
            help_text="Heap counts events with the same idempotency key once. Choose the second "
            "option if your sources number their messages independently. A change applies to "
            "everything sent afterwards, including replays, so replayed events that Heap already "
            "has count again.",
            options=(
                Option(value="once", label="One event in Heap: the key is the messageId"),
                Option(
                    value=COUNT_IDS_PER_SOURCE,
                    label="One event each: the key also names the source",
                ),
            ),
            default="once",
            advanced=True,
        ),
    ),
    variants=(
        Variant(
            key="default",
            name="Everything",
            description="Tracked events, page and screen views, user and account properties.",
        ),
        Variant(
            key="retail",
            name="Shop",
            description="Only product views, carts and orders, with revenue, order id and items.",
        ),
        Variant(
            key="segment-parity",
            name="As Segment sends it",
            description="For teams that move from Segment: Segment's event names, and one property "
            "per list item.",
            config={"arrays": "index"},
        ),
        Variant(
            key="anonymous-as-identity",
            name="Visitors as users",
            description="The older convention: everything, with the anonymousId as identity while "
            "there is no userId. Only for data in Heap that already has this form.",
            config={"visitors": VISITOR_IDENTITY},
        ),
    ),
    kinds=tuple(ITEM_BUILDERS),
    # Source: https://developers.heap.io/reference/bulk-track, /bulk-add-user-properties and
    # /bulk-add-account-properties (seen 2026-11): 1,000 entries each. identify has no bulk form.
    endpoints={
        "track": Endpoint(max_items=1_000),
        "add_user_properties": Endpoint(max_items=1_000),
        "add_account_properties": Endpoint(max_items=1_000),
        "identify": Endpoint(max_items=1),
    },
    items=build_items,
    request=build_request,
    limits=published_limits,
    allowances=monthly_allowances,
    probes=connection_probes,
    setup_steps=SETUP_STEPS,
    troubleshooting=TROUBLESHOOTING,
)
