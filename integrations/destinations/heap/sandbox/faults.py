"""Scripted faults: decide the next answers, so that tests are deterministic."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from integrations.destinations.heap.sandbox.exchange import CallRejected, SandboxAnswer

HeaderText = Annotated[str, Meta(pattern=r"^[^\r\n]*$")]
Seconds = Annotated[float, Meta(ge=0)]


class Fault(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fault for the next `times` API requests that match it (0: for all of them).

    status    the status of the answer; a request answered outside 2xx is not applied
    reset     reset the connection without an answer; the request is not applied
    after     apply the request first, as if Heap accepted it and its answer was lost
    delay_s   seconds to wait before applying and answering (with `after`, between the two)
    drip_s    send the answer byte by byte, with so many seconds before each
    body      replaces the body of the answer
    headers   are added to those of the answer
    path      only requests to this path
    match     only requests whose body contains this text; the status is then 400 by default
    """

    status: Annotated[int, Meta(ge=200, le=599)] | None = None
    times: Annotated[int, Meta(ge=0)] = 1
    reset: bool = False
    after: bool = False
    delay_s: Seconds = 0
    drip_s: Seconds = 0
    headers: dict[HeaderText, HeaderText] = {}
    body: str | None = None
    path: str = ""
    match: str = ""

    @property
    def answers(self) -> int | None:
        """The status to answer with, or None to keep the sandbox's own."""
        return 400 if self.status is None and self.match and not self.reset else self.status

    @property
    def applies(self) -> bool:
        """Whether a request is applied after the fault, if it was not applied before."""
        return not self.reset and (self.answers or 200) < 300

    def fits(self, path: str, body: bytes) -> bool:
        return self.path in ("", path) and self.match.encode() in body

    def apply_to(self, answer: SandboxAnswer) -> SandboxAnswer:
        """Return the answer, changed by this fault."""
        body = answer.body if self.body is None else self.body.encode()
        status, headers = self.answers or answer.status, {**answer.headers, **self.headers}
        return replace(
            answer, status=status, body=body, headers=headers, drip_s=self.drip_s, cut=self.reset
        )


def read_script(raw: bytes) -> list[Fault]:
    """Return the faults in a JSON list. Raises CallRejected, which names the entry and field."""
    try:
        script = msgspec.json.decode(raw, type=list[Fault])
    except ValueError as error:
        raise CallRejected(str(error)) from error
    for i, fault in enumerate(script):
        if problem := _problem(fault):
            raise CallRejected(f"{problem} - at `$[{i}]`")
    return script


def _problem(fault: Fault) -> str:
    if fault.reset and (fault.status is not None or fault.drip_s or fault.body is not None):
        return "`reset` sends no answer, so leave out `status`, `body` and `drip_s`"
    harm = (fault.answers, fault.reset, fault.delay_s, fault.drip_s, fault.headers, fault.body)
    if all(field in (None, False, 0, {}) for field in harm):
        return "does nothing; set `status`, `reset`, `delay_s`, `drip_s`, `headers` or `body`"
    return ""


class FaultScript:
    """The faults still to come, in order. A request uses the first fault that matches it."""

    def __init__(self, faults: Sequence[Fault] = ()):
        self.faults = list(faults)

    def take(self, path: str, body: bytes) -> Fault | None:
        """Return the fault for a request, or None, and record its use."""
        for i, fault in enumerate(self.faults):
            if fault.fits(path, body):
                self._use(i, fault)
                return fault
        return None

    def _use(self, i: int, fault: Fault) -> None:
        if fault.times > 1:
            self.faults[i] = msgspec.structs.replace(fault, times=fault.times - 1)
        elif fault.times == 1:
            del self.faults[i]
