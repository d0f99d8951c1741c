"""Heap: product analytics."""

from integrations.destination import ConfigField, Destination, Endpoint, Option, Variant
from integrations.destinations.heap.api import (
    COUNT_IDS_PER_SOURCE,
    ITEM_BUILDERS,
    VISITOR_IDENTITY,
    build_items,
    build_request,
    monthly_allowances,
    published_limits,
)
from integrations.destinations.heap.connection import connection_probes
from integrations.destinations.heap.guide import SETUP_STEPS, TROUBLESHOOTING

DESTINATION = Destination(
    key="heap",
    name="Heap",
    description="Product analytics: events and the properties of users and accounts, sent from "
    "your server to Heap's server-side API.",
    category="analytics",
    status="beta",
    website="https://www.heap.io/",
    config_fields=(
        ConfigField(
            key="app_id",
            label="App ID",
            help_text="The number of your Heap environment, under Account › Manage › Projects. "
            "Production and Development have one each.",
            placeholder="1234567890",
            pattern=r"[0-9]{1,20}",
            pattern_help="Digits only, such as 1234567890.",
        ),
        ConfigField(
            key="api_key",
            label="API key",
            type="secret",
            required=False,
            help_text="Leave empty to send events: Heap asks for a key only when users are to be "
            "deleted, and it is kept, encrypted, for nothing else. An admin makes it under "
            "Account › Manage › Privacy & Security.",
        ),
        ConfigField(
            key="region",
            label="Region",
            type="select",
            help_text="Where Heap keeps your data. The other region would not find your App ID.",
            options=(
                Option(value="us", label="United States (heapanalytics.com)"),
                Option(value="eu", label="European Union (c.eu.heap-api.com)"),
                Option(value="sandbox", label="Sandbox: try it here, without a Heap account"),
            ),
            default="us",
        ),
        ConfigField(
            key="arrays",
            label="Arrays",
            type="select",
            help_text="Heap takes no lists, only texts and numbers. Lists of objects are never "
            "joined, but sent as JSON.",
            options=(
                Option(value="json", label='As JSON: ["red","blue"]'),
                Option(value="join", label="Joined as Heap does it: red||blue"),
                Option(value="index", label="One property an item: colors.0, colors.1"),
                Option(value="drop", label="Not at all"),
            ),
            default="json",
            advanced=True,
        ),
        ConfigField(
            key="objects",
            label="Objects",
            type="select",
            help_text="Nor does Heap take properties that have properties of their own.",
            options=(
                Option(value="flatten", label="Flattened: cart.total, cart.items"),
                Option(value="stringify", label='As JSON: {"total":5,"items":2}'),
                Option(value="drop", label="Not at all"),
            ),
            default="flatten",
            advanced=True,
        ),
        ConfigField(
            key="visitors",
            label="Anonymous visitors",
            type="select",
            help_text="How Heap knows a visitor without a userId. A number can become a user "
            "later. An identity makes a user of each visitor for good: choose it only where your "
            "Heap has its visitors so already.",
            options=(
                Option(value="number", label="By a number that is made of the anonymousId"),
                Option(value=VISITOR_IDENTITY, label="By the anonymousId as identity"),
            ),
            default="number",
            advanced=True,
        ),
        ConfigField(
            key="same_ids",
            label="Equal message ids of two sources",
            type="select",
            help_text="Heap counts events with the same key once. Choose the second where your "
            "sources number their messages themselves. A change holds for what is sent "
            "afterwards, replays included: what Heap had before would count again.",
            options=(
                Option(value="once", label="One event at Heap: the key is the messageId"),
                Option(
                    value=COUNT_IDS_PER_SOURCE,
                    label="One event each: the key names the source, too",
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
            description="Product views, carts and orders only: revenue, order id and items.",
        ),
        Variant(
            key="segment-parity",
            name="As Segment sends it",
            description="For those moving over from Segment: its names of events, and lists "
            "spread over one property an item.",
            config={"arrays": "index"},
        ),
        Variant(
            key="anonymous-as-identity",
            name="Visitors as users",
            description="The older habit: everything, with the anonymousId as identity while "
            "there is no userId. Only where your Heap has its visitors so already.",
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
