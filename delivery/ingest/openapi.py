"""Adds the SDK endpoints to the OpenAPI schema.

They are described by hand, because they use no DRF serializers. A test compares them with the URL
patterns, and calls each endpoint as described.
"""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from delivery.ingest.openapi_schemas import MESSAGE_SCHEMAS, Refused, Taken, TakenBatch

Json = dict[str, Any]

SCHEMA_REF_TEMPLATE = "#/components/schemas/{name}"
INGEST_TAG = {
    "name": "ingest",
    "description": "The endpoints that SDKs send to. The body is JSON whatever its Content-Type, "
    "and may be gzipped. Errors have `code` and `message` at the top level, because SDKs retry "
    "anything else.",
}
# In the order in which they are tried; the body's writeKey comes last.
WRITE_KEY_SECURITY_SCHEMES = {
    "writeKeyBasic": {
        "type": "http",
        "scheme": "basic",
        "description": "The write key as the user name.",
    },
    "writeKeyBearer": {"type": "http", "scheme": "bearer"},
    "writeKeyHeader": {"type": "apiKey", "in": "header", "name": "X-Write-Key"},
    "writeKeyQuery": {"type": "apiKey", "in": "query", "name": "writeKey"},
}
ERROR_DESCRIPTIONS = {
    400: "The request cannot be read, or its only message was rejected; `message` says why.",
    401: "The write key is missing or unknown, or the signature does not match.",
    403: "Pages of this origin may not send.",
    409: "This signed request was already accepted.",
    413: "The request is too large.",
    429: "The source is over its rate limit. Retry after Retry-After seconds.",
    503: "Nothing could be stored. Retry after Retry-After seconds.",
}
RETRY_AFTER_HEADER = {
    "Retry-After": {"schema": {"type": "string", "pattern": "^[0-9]+$"}, "description": "Seconds."}
}
REQUIRED_ID_SCHEMAS = [{"required": ["userId"]}, {"required": ["anonymousId"]}]
SIGNATURE_PARAMETERS = [
    {
        "name": name,
        "in": "header",
        "required": False,
        "schema": {"type": "string"},
        "description": description,
    }
    for name, description in {
        "X-Signature": "sha256= and the hex HMAC-SHA256 of X-Timestamp, a dot and the body.",
        "X-Timestamp": "Unix time in ms, within 5 minutes of Penstock's clock.",
        "X-Source": "The id or name of the source that signed the request.",
    }.items()
]
PIXEL_PARAMETERS = {
    "wk": "The write key; without it nothing is stored.",
    "e": "The event of a track, the name of a page or screen.",
    "uid": "User id.",
    "aid": "Anonymous id.",
    "gid": "Group id of a group.",
    "pid": "Previous id of an alias.",
    "ts": "When it happened, as Unix time in ms.",
    "mid": "Message id; messages with the same id are one event.",
}


def add_ingest(result: Json, **_: Any) -> Json:
    """Add the SDK endpoints to the schema. A hook of drf-spectacular, called last."""
    shapes = [*MESSAGE_SCHEMAS.values(), Taken, TakenBatch, Refused]
    components = msgspec.json.schema_components(shapes, ref_template=SCHEMA_REF_TEMPLATE)[1]
    for struct in MESSAGE_SCHEMAS.values():
        components[struct.__name__]["anyOf"] = REQUIRED_ID_SCHEMAS
    entries = {
        _batch_item_name(kind): _with_type(kind, struct.__name__)
        for kind, struct in MESSAGE_SCHEMAS.items()
    }
    any_of_them = {"AnyMessage": {"oneOf": [_ref(name) for name in entries]}}
    schemas = {**components, **entries, **any_of_them, "Batch": BATCH_SCHEMA}
    known = result.setdefault("components", {})
    if taken := known.get("schemas", {}).keys() & schemas.keys():
        raise ValueError(f"Two schemas have the same name: {', '.join(sorted(taken))}.")
    known["schemas"] = {**known.get("schemas", {}), **schemas}
    known["securitySchemes"] = {**known.get("securitySchemes", {}), **WRITE_KEY_SECURITY_SCHEMES}
    result["paths"] = {**result.get("paths", {}), **dict(_paths())}
    result["tags"] = [*result.get("tags", []), INGEST_TAG]
    return result


def _ref(name: str) -> Json:
    return {"$ref": SCHEMA_REF_TEMPLATE.format(name=name)}


def _batch_item_name(kind: str) -> str:
    return f"Batch{kind.capitalize()}"


def _with_type(kind: str, name: str) -> Json:
    """Return the schema of a message with a `type`."""
    named = {"type": "object", "properties": {"type": {"const": kind}}, "required": ["type"]}
    return {"allOf": [_ref(name), named]}


BATCH_SCHEMA = {
    "type": "object",
    "description": "Messages of any type. The context and integrations of the batch lie under "
    "those of each message.",
    "required": ["batch"],
    "properties": {
        "batch": {"type": "array", "items": _ref("AnyMessage")},
        "sentAt": {"type": "string", "description": "When the batch was sent."},
        "context": {"type": "object"},
        "integrations": {"type": "object"},
        "writeKey": {"type": "string"},
    },
}


def _paths() -> Iterator[tuple[str, Json]]:
    for kind, struct in MESSAGE_SCHEMAS.items():
        for address in (f"/v1/{kind}", f"/v1/{kind[0]}", f"/api/s/{kind}", f"/api/s/s2s/{kind}"):
            yield address, _post(address, f"Send a message of type {kind}.", _ref(struct.__name__))
        yield f"/v1/pixel/{kind}", _pixel(kind)
    for address in ("/v1/batch", "/v1/import", "/v1/b", "/beacon/v1/batch"):
        yield address, _post(address, "Send many messages at once.", _ref("Batch"), "TakenBatch")
    yield "/v1/events", _post("/v1/events", "Send one message of any type.", _ref("AnyMessage"))
    yield "/v1/webhook", _webhook()
    yield "/v1/m", _ignored_report()
    for prefix in ("", "/cio"):
        yield f"{prefix}/v1/projects/{{key}}/settings", _segment_settings(prefix)
    yield "/sourceConfig", _rudder_settings()


def _post(address: str, summary: str, shape: Json, taken: str = "Taken") -> Json:
    """Return the path item of an endpoint that accepts messages."""
    operation = _operation(address, summary, ERROR_DESCRIPTIONS)
    operation["parameters"] = SIGNATURE_PARAMETERS
    operation["requestBody"] = _request_body(shape)
    operation["responses"]["200"] = _response("Stored and committed.", _ref(taken))
    return {"post": operation}


def _pixel(kind: str) -> Json:
    address = f"/v1/pixel/{kind}"
    operation = _operation(address, f"Send a message of type {kind} by showing an image.", {})
    properties = "`p.NAME` is a property, `t.NAME` a trait; the value is always a string."
    operation["description"] = f"{properties} `X-Penstock-Refused` says why nothing was stored."
    operation["parameters"] = [
        _query_parameter(name, description) for name, description in PIXEL_PARAMETERS.items()
    ]
    image = {"image/gif": {"schema": {"type": "string", "format": "binary"}}}
    operation["responses"] = {
        "200": {"description": "The image, even if the message was rejected.", "content": image},
        "503": {"description": "Nothing could be stored.", "content": image},
    }
    operation["security"] = [{}]
    return {"get": operation}


def _webhook() -> Json:
    refusals = {code: ERROR_DESCRIPTIONS[code] for code in (400, 401, 413, 429, 503)}
    operation = _operation("/v1/webhook", "Receive the call of a third party.", refusals)
    operation["parameters"] = [
        _query_parameter("source", "The key of the webhook source: wh_…", True)
    ]
    operation["requestBody"] = _request_body({"type": ["object", "array"]})
    operation["responses"]["200"] = _response("Stored, or kept as rejected.", _ref("TakenBatch"))
    operation["security"] = [{}]
    return {"post": operation}


def _ignored_report() -> Json:
    operation = _operation("/v1/m", "Accept and ignore what SDKs report about themselves.", {})
    operation["requestBody"] = {**_request_body({}), "required": False}  # any body
    operation["responses"]["200"] = _response("Ignored.", _ref("Taken"))
    operation["security"] = [{}]
    return {"post": operation}


def _segment_settings(prefix: str) -> Json:
    who = "Customer.io" if prefix else "Segment"
    address = f"{prefix}/v1/projects/key/settings"
    summary = f"Settings for {who}'s browser SDK, which then sends to Penstock."
    operation = _operation(
        address, summary, {401: ERROR_DESCRIPTIONS[401], 503: ERROR_DESCRIPTIONS[503]}
    )
    key = {"name": "key", "in": "path", "required": True, "schema": {"type": "string"}}
    operation["parameters"] = [key]
    operation["responses"]["200"] = _response("The settings.", {"type": "object"})
    operation["security"] = [{}]
    return {"get": operation}


def _rudder_settings() -> Json:
    summary = "Settings for RudderStack's browser SDK."
    operation = _operation(
        "/sourceConfig", summary, {401: ERROR_DESCRIPTIONS[401], 503: ERROR_DESCRIPTIONS[503]}
    )
    operation["responses"]["200"] = _response(
        "The source, as the SDK expects it.", {"type": "object"}
    )
    return {"get": operation}


def _operation(address: str, summary: str, refusals: dict[int, str]) -> Json:
    return {
        "operationId": "ingest_" + re.sub(r"\W+", "_", address).strip("_"),
        "summary": summary,
        "tags": [INGEST_TAG["name"]],
        "security": [*({name: []} for name in WRITE_KEY_SECURITY_SCHEMES), {}],
        "responses": {
            str(code): _response(description, _ref("Refused"), code in (429, 503))
            for code, description in refusals.items()
        },
    }


def _response(description: str, shape: Json, can_retry: bool = False) -> Json:
    answer: Json = {"description": description, "content": {"application/json": {"schema": shape}}}
    return {**answer, "headers": RETRY_AFTER_HEADER} if can_retry else answer


def _request_body(shape: Json) -> Json:
    return {"required": True, "content": {"application/json": {"schema": shape}}}


def _query_parameter(name: str, description: str, required: bool = False) -> Json:
    return {
        "name": name,
        "in": "query",
        "required": required,
        "description": description,
        "schema": {"type": "string"},
    }
