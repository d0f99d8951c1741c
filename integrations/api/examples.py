"""Adds examples to the OpenAPI schema: real requests and responses, from examples.json.

tests/integrations/api/test_every_call.py makes the calls, and `make examples` records them.
"""

import json
from functools import cache
from pathlib import Path

EXAMPLES_FILE = Path(__file__).with_name("examples.json")
PATH_PARAMETER_EXAMPLES = {"id": 1, "revision": 1, "key": "heap"}  # path parameters
KEY_EXAMPLES_BY_TYPE = {"integer": 1}  # here `key` is the id of a write key


@cache
def load_examples():
    """Return the examples by component name."""
    return json.loads(EXAMPLES_FILE.read_text()) if EXAMPLES_FILE.exists() else {}


def add_examples(result, **_):
    """Add the examples to components and path parameters. A hook of drf-spectacular."""
    schemas = result["components"].get("schemas", {})  # a schema of ingest alone has none
    for name, example in load_examples().items():
        if name in schemas:
            schemas[name]["examples"] = [example]
    for methods in result["paths"].values():
        for operation in methods.values():
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "path":
                    kind = parameter["schema"]["type"]
                    parameter["example"] = KEY_EXAMPLES_BY_TYPE.get(
                        kind, PATH_PARAMETER_EXAMPLES.get(parameter["name"], 1)
                    )
    return result


def component_name_of(schema, components):
    """Return the component name of a body, or of the rows of a list; None for inline schemas."""
    if "$ref" not in schema:
        return None
    name = schema["$ref"].rpartition("/")[2]
    if name.endswith("Page"):
        return components[name]["properties"]["data"]["items"]["$ref"].rpartition("/")[2]
    return name
