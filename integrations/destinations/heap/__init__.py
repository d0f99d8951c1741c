"""Heap: product analytics."""

from integrations.destination import ConfigField, Destination, Endpoint, Option, Variant
from integrations.destinations.heap.api import KINDS, items, limits, request
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
            help_text="Heap takes no lists, only texts and numbers. Lists of objects are always "
            "sent as JSON.",
            options=(
                Option(value="json", label='As JSON: ["red","blue"]'),
                Option(value="join", label="Joined as Heap does it: red||blue"),
            ),
            default="json",
        ),
    ),
    variants=(
        Variant(
            key="default",
            name="Everything",
            description="Tracked events, page and screen views, user and account properties.",
        ),
    ),
    kinds=tuple(KINDS),
    # Source: https://developers.heap.io/reference/bulk-track, /bulk-add-user-properties and
    # /bulk-add-account-properties (seen 2026-11): 1,000 entries each. identify has no bulk form.
    endpoints={
        "track": Endpoint(max_items=1_000),
        "add_user_properties": Endpoint(max_items=1_000),
        "add_account_properties": Endpoint(max_items=1_000),
        "identify": Endpoint(max_items=1),
    },
    items=items,
    request=request,
    limits=limits,
    setup_steps=SETUP_STEPS,
    troubleshooting=TROUBLESHOOTING,
)
