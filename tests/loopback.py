"""A web server on this machine that misbehaves as those of others do."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from serving import serving


@dataclass
class Behaviour:
    """What the server serves, and how."""

    files: dict[str, bytes]
    breaks_after: int | None = None
    """Bytes of an answer, after which the connection ends."""
    parts: bool = True
    """Whether it serves a part of a file."""
    busy_every: int = 0
    """Every so many requests is answered with 429."""
    refuses: int = 0
    """The number that every request is answered with."""
    vanish_after: int | None = None
    """Requests of a file's contents, after which there is none."""
    asked: list[tuple[str, str, int]] = field(default_factory=list)
    """Method, path and number of each answer."""
    sent: int = 0

    def contents_asked(self, path: str) -> int:
        return sum(method == "GET" and one == path and status < 300 for method, one, status in self.asked)


class _Handler(BaseHTTPRequestHandler):
    behaviour: Behaviour

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _status(self) -> int:
        how = self.behaviour
        if how.refuses:
            return how.refuses
        if how.busy_every and len(how.asked) % how.busy_every == how.busy_every - 1:
            return 429
        gone = how.vanish_after is not None and how.contents_asked(self.path) >= how.vanish_after
        if self.path.endswith("/"):
            return 200
        return 404 if gone or self.path not in how.files else 200

    def _answer(self, *, body: bool) -> None:
        how, status = self.behaviour, self._status()
        how.asked.append((self.command, self.path, status))
        if status != 200:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            if status == 429:
                self.send_header("Retry-After", "0")
            self.end_headers()
            return
        data, start, total = self._data()
        self.send_response(206 if start is not None else 200)
        if start is not None:
            self.send_header("Content-Range", f"bytes {start}-{start + len(data) - 1}/{total}")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", f'"{total}"')
        self.end_headers()
        if body:
            part = data[: how.breaks_after]
            how.sent += len(part)
            self.wfile.write(part)
            if len(part) < len(data):
                self.close_connection = True

    def _data(self) -> tuple[bytes, int | None, int]:
        """What is asked for, where it begins in its file if that was asked, and the size of the file."""
        if self.path.endswith("/"):
            names = [path for path in self.behaviour.files if path.startswith(self.path)]
            page = "".join(f'<a href="{name}">{name}</a>\n' for name in names).encode()
            return page, None, len(page)
        data = self.behaviour.files[self.path]
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked is None or not self.behaviour.parts:
            return data, None, len(data)
        start, end = int(asked[1]), int(asked[2] or len(data) - 1)
        return data[start : end + 1], start, len(data)


def served(behaviour: Behaviour) -> AbstractContextManager[str]:
    """The server's address."""
    return serving(_Handler, behaviour=behaviour)
