"""The sandbox as one object: Heap's API, scripted faults, and the panel."""

import time
from collections.abc import Callable
from threading import Event, Lock, Thread
from typing import Self

from integrations.destinations.heap.sandbox.api import HeapApi
from integrations.destinations.heap.sandbox.connection import Listener
from integrations.destinations.heap.sandbox.exchange import SandboxAnswer, SandboxCall
from integrations.destinations.heap.sandbox.faults import Fault, FaultScript
from integrations.destinations.heap.sandbox.limits import NO_LIMITS, Limits
from integrations.destinations.heap.sandbox.panel import Panel
from integrations.destinations.heap.sandbox.state import MAX_EVENTS, HeapState
from integrations.destinations.heap.sandbox.traffic import Traffic


def serve(host: str = "127.0.0.1", port: int = 8085) -> "Sandbox":
    """Return a sandbox that already listens; `serve_forever()` answers. Raises OSError."""
    return Sandbox(host, port)


class Sandbox:
    """A local Heap at `url`. As a context manager it answers from its own thread.

    port        0 chooses a free port
    clock       returns Unix seconds, so that tests can move the time
    max_events  events kept to be shown; older ones are dropped and counted as `forgotten`
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        clock: Callable[[], float] = time.time,
        max_events: int = MAX_EVENTS,
        limits: Limits = NO_LIMITS,
    ):
        self.state, self.traffic, self.clock = HeapState(max_events), Traffic(), clock
        self.api = HeapApi(self.state, clock, limits)
        self.script, self._script_lock = FaultScript(), Lock()
        self.closing = Event()
        self._serving = False
        self._listener = Listener(host, port, self.answer, self.closing)
        self.host, self.port = host, int(self._listener.server_address[1])
        self._panel = Panel(self)

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def serve_forever(self) -> None:
        """Answer until `shutdown()`, which another thread must call."""
        self._serving = True
        self._listener.serve_forever(poll_interval=0.05)

    def shutdown(self) -> None:
        """Stop listening and drop every connection, even one in a scripted delay."""
        self.closing.set()
        if self._serving:
            self._listener.shutdown()
        self._listener.close()

    def __enter__(self) -> Self:
        self._serving = True
        Thread(target=self.serve_forever, daemon=True, name="heap-sandbox").start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.shutdown()

    def clear(self) -> None:
        """Delete all received data and all scripted faults."""
        self.api.clear()
        with self.api.lock:
            self.traffic.clear()
        self.script_faults([])

    def script_faults(self, faults: list[Fault]) -> None:
        """Script faults for the next requests, replacing any that remain."""
        with self._script_lock:
            self.script = FaultScript(faults)

    def answer(self, call: SandboxCall) -> SandboxAnswer:
        if call.path in ("/", "/_sandbox"):
            return SandboxAnswer(status=302, body=b"", headers={"Location": "/_sandbox/"})
        if call.path.startswith("/_sandbox/"):
            return self._panel.answer(call)
        return self._answer_as_heap(call)

    def _answer_as_heap(self, call: SandboxCall) -> SandboxAnswer:
        at, began = self.clock(), time.perf_counter()
        with self._script_lock:
            fault = self.script.take(call.path, call.body)
        answer = self._answer_with(fault, call) if fault else self.api.answer(call)
        with self.api.lock:
            self.traffic.note(
                answer,
                self.api.endpoint(call.path),
                at=at,
                took_s=time.perf_counter() - began,
                size=len(call.body),
                fault=fault is not None,
            )
        return answer

    def _answer_with(self, fault: Fault, call: SandboxCall) -> SandboxAnswer:
        if fault.after:
            answer = self.api.answer(call)
            self.closing.wait(fault.delay_s)
            return fault.apply_to(answer)
        self.closing.wait(fault.delay_s)
        refusal = SandboxAnswer.text("A scripted fault of the sandbox")
        return fault.apply_to(self.api.answer(call) if fault.applies else refusal)
