"""Default locations of a message's fields in the webhook calls of third parties. Data only.

Each value is a JSONPath, `header:NAME` or a literal text, or a list of these, of which the first
that is present counts.
"""

GENERIC_FIELD_PATHS = {
    "event": ["$.event", "$.type"],
    "messageId": ["$.messageId", "$.id"],
    "userId": ["$.userId", "$.user_id", "$.user.id"],
    "anonymousId": "$.anonymousId",
    "timestamp": ["$.timestamp", "$.created_at"],
    "properties": ["$.properties", "$.data", "$"],
}

FIELD_PATHS = {
    # https://docs.stripe.com/api/events/object (seen 2026-11)
    "stripe": {
        "event": "$.type",
        "messageId": "$.id",
        "userId": [
            "$.data.object.client_reference_id",
            "$.data.object.metadata.user_id",
            "$.data.object.customer",
        ],
        "timestamp": "$.created",
        "properties": "$.data.object",
    },
    # https://shopify.dev/docs/apps/build/webhooks/subscribe/https (seen 2026-11). All topics
    # that one change triggers share the event id, but not the webhook id.
    "shopify": {
        "event": "header:X-Shopify-Topic",
        "messageId": "header:X-Shopify-Webhook-Id",
        "userId": ["$.customer.id", "$.customer_id"],
        "timestamp": ["header:X-Shopify-Triggered-At", "$.updated_at", "$.created_at"],
        "properties": "$",
    },
    # https://developers.hubspot.com/docs/api/webhooks (seen 2026-11): a list of changes, whose
    # eventId "is not guaranteed to be unique"
    "hubspot": {
        "event": "$.subscriptionType",
        "userId": "$.objectId",
        "timestamp": "$.occurredAt",
        "properties": "$",
    },
    "hmac": GENERIC_FIELD_PATHS,
    "none": GENERIC_FIELD_PATHS,
}
