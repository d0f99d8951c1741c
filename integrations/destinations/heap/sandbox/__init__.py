"""A local server that emulates Heap's server-side API and shows the requests it received.

    with Sandbox() as sandbox:                    # on a free port, in a thread, for tests
        post(f"{sandbox.url}/api/track", ...)
    serve("127.0.0.1", 8085).serve_forever()      # as `manage.py sandbox heap` does

Nothing leaves this machine. The sandbox follows Heap's documentation. Where Heap's pages are
silent, the code says "Assumed", and the gaps are listed in `bodies`, `state`, `limits` and
`deletion`. All pages named as Source were seen 2026-11.

    server      the sandbox as one object          connection    sockets: keep-alive, resets
    api         the calls of Heap's API            panel, page   the pages under /_sandbox/
    bodies      validation of request bodies       traffic       the log of requests
    state       users, events, identities          limits, deletion, faults
"""

from integrations.destinations.heap.sandbox.server import Sandbox, serve

__all__ = ["Sandbox", "serve"]
