"""Both languages against cases recorded from the reference implementation.

`shared/conformance/README.md` explains the files. Rows tagged `peer_quirk` are quirks that
Penstock need not copy; they are counted and must not crash. All other rows must agree.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integrations.blueprints import TriggerError, compile_mapping, compile_trigger
from integrations.blueprints.paths import MISSING
from integrations.errors import MessageRejected

FOLDER = Path(__file__).parents[4] / "shared/conformance"
REFUSED = "refused"  # instead of a result: refused when compiled or when applied
ABSENT = {"$undefined": True}


def recorded(name: str) -> Any:
    path = FOLDER / name
    if not path.exists():
        pytest.skip(f"{path} is not part of the repository")
    return json.loads(path.read_text("utf-8"))


def tell(capsys: pytest.CaptureFixture[str], what: str, counts: Counter[str]) -> None:
    summary = ", ".join(f"{counts[each]:,} {each}" for each in sorted(counts))
    with capsys.disabled():
        sys.stdout.write(f"\n{what}: {summary}\n")


def verdict(row: Any, expected: Any, found: Any) -> str:
    agrees = json.dumps(found, sort_keys=True) == json.dumps(expected, sort_keys=True)
    if "peer_quirk" in row:
        return "quirks that agree" if agrees else "quirks that differ"
    return "agree" if agrees else "DISAGREE"


# --- the mapping language ---


def without_absent(value: Any) -> Any:
    """Return JSON without the markers for JavaScript's undefined; in a list they become null."""
    if isinstance(value, dict):
        return {key: without_absent(each) for key, each in value.items() if each != ABSENT}
    if isinstance(value, list):
        return [None if each == ABSENT else without_absent(each) for each in value]
    return value


def mapped(mapping: Any, payload: Any) -> Any:
    mapper, problems = compile_mapping(mapping)
    if any(problem.fatal for problem in problems):
        return REFUSED
    try:
        return mapper(payload)
    except MessageRejected:
        return REFUSED


def mapping_result(case: Any, payloads: Any) -> tuple[Any, Any]:
    """Return the expected and the actual result of a case."""
    mapping = without_absent(case["mapping"])
    _, problems = compile_mapping(mapping)
    if case["kind"] == "validate":
        return case.get("expected_valid", False), not problems
    payload = payloads[case["payload_ref"]] if "payload_ref" in case else case["payload"]
    found = mapped(mapping, payload)
    if case.get("expected_error"):
        return REFUSED, REFUSED if problems else found
    expected = ABSENT if case.get("expected_undefined") else without_absent(case.get("expected"))
    return expected, ABSENT if found is MISSING else numbers(found)


def numbers(value: Any) -> Any:
    """Return JSON with 2.0 as 2, because JavaScript has only one kind of number."""
    return json.loads(
        json.dumps(value),
        parse_float=lambda t: int(float(t)) if float(t).is_integer() else float(t),
    )


def test_mappings_give_what_the_reference_gives(capsys):
    data, counts, differ = recorded("mapping_kit.json"), Counter(), []
    for case in data["cases"]:
        expected, found = mapping_result(case, data["payloads"])
        outcome = verdict(case, numbers(expected), found)
        counts[outcome] += 1
        if outcome == "DISAGREE":
            differ.append((case["id"], expected, found))
    tell(capsys, "mapping_kit.json", counts)
    assert differ == []


# --- the trigger language ---


def triggered(fql: str, event: Any) -> bool | str:
    try:
        return compile_trigger(fql)(event)
    except TriggerError:
        return REFUSED


def grid_event(field: str, value: Any) -> dict[str, Any]:
    """Return a minimal event with this value at the field."""
    event: dict[str, Any] = {"type": "track", "event": "E", "properties": {}, "traits": {}}
    *above, last = field.split(".")
    parent = event
    for key in above:
        parent = parent.setdefault(key, {})
    parent.pop(last, None)
    if value != {"$missing": True}:
        parent[last] = value
    return event


def trigger_rows(data: Any) -> Iterator[tuple[Any, bool | str, bool | str]]:
    """Yield each row with its expected and actual result, event by event.

    In the reference, a trigger that does not parse never matches. A trigger that Penstock refuses
    therefore agrees with one that never matches.
    """
    for row in data["grid"]:
        for name, expected in row["expected"].items():
            found = triggered(row["fql"], grid_event(row["field"], data["grid_values"][name]))
            yield row, expected, False if found == REFUSED else found
    for row in data["syntax"]:
        for name, expected in row["expected"].items():
            found = triggered(row["fql"], data["events"][name])
            if row.get("expected_parse_error"):
                yield row, REFUSED, found
            else:
                yield row, expected, False if found == REFUSED else found
    for row in data["evals"]:
        yield row, row["expected"], triggered(row["fql"], row["event"])
    for row in data["parse_errors"]:
        yield row, REFUSED, triggered(row["fql"], {})


def test_triggers_say_what_the_reference_says(capsys):
    counts, differ = Counter(), []
    for row, expected, found in trigger_rows(recorded("fql.json")):
        outcome = verdict(row, expected, found)
        counts[outcome] += 1
        if outcome == "DISAGREE":
            differ.append((row["fql"], expected, found))
    tell(capsys, "fql.json, event by event", counts)
    assert differ == []
