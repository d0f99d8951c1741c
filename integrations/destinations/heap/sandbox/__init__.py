"""A local Heap: a server that takes what Heap's server-side API takes, and shows what arrived.

    with Sandbox() as sandbox:                    # a free port, in a thread: for tests
        post(f"{sandbox.url}/api/track", ...)
    serve("127.0.0.1", 8085).serve_forever()      # what `manage.py sandbox heap` does

Nothing leaves this machine. What Heap documents is emulated as documented; where its pages are
silent the code says "our guess", case by case, and the gaps are listed in `bodies`, `state`,
`limits` and `deletion`. All pages named as Source were seen 2026-11.

    server      sockets: keep-alive, resets, slow answers
    api         the calls of Heap's API            panel, page   /_sandbox/: what arrived
    bodies      what a body may say, and the words of a refusal
    state       users, events, identities          limits, deletion, faults
"""

from integrations.destinations.heap.sandbox.server import Sandbox, serve

__all__ = ["Sandbox", "serve"]
