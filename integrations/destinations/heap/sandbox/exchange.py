"""One exchange with the sandbox: a call and its answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxCall:
    """A request, read and unpacked.

    headers   names in lower case
    base_url  the address at which the caller reaches the sandbox, for answers with a link
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    base_url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxAnswer:
    """A response.

    items    the number of entries in the call, for the request log
    drip_s   seconds to wait before each byte
    cut      reset the connection instead of sending anything
    """

    status: int = 200
    body: bytes = b"{}"
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    items: int = 0
    drip_s: float = 0
    cut: bool = False

    @classmethod
    def json(cls, value: Any, *, status: int = 200) -> "SandboxAnswer":
        return cls(status=status, body=msgspec.json.encode(value))

    @classmethod
    def text(cls, words: str, *, status: int = 200, items: int = 0) -> "SandboxAnswer":
        return cls(
            status=status,
            body=words.encode(),
            content_type="text/plain; charset=utf-8",
            items=items,
        )


class CallRejected(Exception):
    """The call is not valid. The message is the text of the answer."""

    def __init__(self, message: str, *, status: int = 400):
        super().__init__(message)
        self.status = status
