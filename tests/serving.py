"""A web server on the loopback, as long as a test needs it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler], **given: Any) -> Iterator[str]:
    """Its address. Each request is answered by a `handler`, which has what is `given` as attributes."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (handler,), given))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
