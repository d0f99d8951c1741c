"""Traffic recorded from real SDKs, if `../shared/clients/recordings` exists."""

import base64
import gzip
import json
from dataclasses import dataclass
from pathlib import Path

RECORDINGS_FOLDER = Path(__file__).resolve().parents[3] / "shared" / "clients" / "recordings"
RECORDING_NAMES = sorted(path.stem for path in RECORDINGS_FOLDER.glob("*.jsonl"))
WRITE_KEYS = ("wk_test_0123456789abcdef", "pk_us_0123456789abcdef")


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One request of an SDK, byte for byte."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    def messages(self) -> list[dict]:
        """Return the messages in the body, with NaN and infinities as None."""
        packed = self.headers.get("Content-Encoding") == "gzip"
        data = json.loads(
            gzip.decompress(self.body) if packed else self.body, parse_constant=lambda name: None
        )
        return data.get("batch", [data])


def load_recording(name: str) -> list[RecordedRequest]:
    """Return the requests of a recording, in the order in which they arrived."""
    lines = (RECORDINGS_FOLDER / f"{name}.jsonl").read_text("utf-8").splitlines()
    return [
        RecordedRequest(
            line["method"],
            line["target"],
            {key.title(): value for key, value in line["headers"]},
            base64.b64decode(line["body_b64"] or ""),
        )
        for line in map(json.loads, lines)
    ]
