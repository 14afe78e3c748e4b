"""A Hugging Face Hub on this machine, as far as reading datasets needs one."""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, unquote, urlsplit

from serving import serving

PAGE = 3  # entries of a list that come at once: real ones have 1,000


@dataclass
class Hub:
    """What it has: files of each dataset by branch or commit, and how it behaves."""

    datasets: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)
    """`OWNER/NAME` -> commit -> path -> contents."""
    branches: dict[tuple[str, str], str] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    private: dict[str, str] = field(default_factory=dict)
    """Datasets that are there for whoever has a token only, and that token."""
    busy_every: int = 0
    breaks_after: int | None = None
    asked: list[tuple[str, int]] = field(default_factory=list)
    sent: int = 0
    """Bytes of files."""

    def put(self, name: str, files: dict[str, bytes], branch: str = "main") -> str:
        """A further commit; its hash."""
        commit = hashlib.sha1(repr((name, branch, len(self.datasets.get(name, {})))).encode()).hexdigest()
        self.datasets.setdefault(name, {})[commit] = files
        self.branches[name, branch] = commit
        return commit


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._send(404, b"", {"X-Error-Code": "EntryNotFound"})

    def _answer(self) -> None:
        hub, url = self.hub, urlsplit(self.path)
        if hub.busy_every and len(hub.asked) % hub.busy_every == hub.busy_every - 1:
            return self._send(429, b"", {"Retry-After": "0"})
        api = re.fullmatch(r"/api/datasets/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+)(?:/(.+))?)?", url.path)
        file = re.fullmatch(r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", url.path)
        found = api or file
        if found is None:
            return self._send(404, b"")
        name = found[1]
        if name not in hub.datasets or (name in hub.private and self._token() != hub.private[name]):
            return self._send(404 if self._token() else 401, b"", {"X-Error-Code": "RepoNotFound"})
        asked = unquote((found[3] if api else found[2]) or "main")
        commit = hub.branches.get((name, asked), asked)
        files = hub.datasets[name].get(commit)
        if files is None:
            return self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
        if file:
            return self._file(name, files, unquote(file[3]))
        if found[2] == "tree":
            return self._tree(files, unquote(found[4] or ""), parse_qs(url.query))
        about = {"id": name, "sha": commit, "private": False, "siblings": [{"rfilename": path} for path in files]}
        return self._send(200, json.dumps(about).encode())

    def _token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def _tree(self, files: dict[str, bytes], folder: str, query: dict[str, list[str]]) -> None:
        prefix = f"{folder}/" if folder else ""
        below = {path: data for path, data in sorted(files.items()) if path.startswith(prefix)}
        if not below:
            return self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
        entries = {}
        for path, data in below.items():
            parts = path.removeprefix(prefix).split("/")
            recursive = query.get("recursive", ["False"])[0].lower() == "true"
            for i in range(1, len(parts) if recursive else min(2, len(parts))):
                inner = prefix + "/".join(parts[:i])
                entries[inner] = {"type": "directory", "path": inner, "size": 0, "oid": _hash(inner.encode())}
            if recursive or len(parts) == 1:
                entries[path] = {"type": "file", "path": path, "size": len(data), "oid": _hash(data)}
        begin = int(query.get("cursor", ["0"])[0])
        page = list(entries.values())[begin : begin + PAGE]
        more = {}
        if begin + PAGE < len(entries):
            rest = "&".join(f"{key}={values[0]}" for key, values in query.items() if key != "cursor")
            host, path = self.headers["Host"], urlsplit(self.path).path
            more = {"Link": f'<http://{host}{path}?{rest}&cursor={begin + PAGE}>; rel="next"'}
        return self._send(200, json.dumps(page).encode(), more)

    def _file(self, name: str, files: dict[str, bytes], path: str) -> None:
        if path not in files:
            return self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
        if name in self.hub.gated and path != "README.md":
            return self._send(403, b"", {"X-Error-Code": "GatedRepo"})
        data = files[path]
        part = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if part is None:
            return self._send(200, data)
        start = int(part[1])
        piece = data[start : int(part[2] or len(data)) + 1]
        return self._send(206, piece, {"Content-Range": f"bytes {start}-{start + len(piece) - 1}/{len(data)}"})

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.hub.asked.append((self.path, status))
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        whole = "/resolve/" not in self.path or self.hub.breaks_after is None
        part = body if whole else body[: self.hub.breaks_after]
        self.hub.sent += len(part) if "/resolve/" in self.path else 0
        self.wfile.write(part)
        if len(part) < len(body):
            self.close_connection = True


def _hash(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


def served(hub: Hub) -> AbstractContextManager[str]:
    """The Hub's address, for HF_ENDPOINT."""
    return serving(_Handler, hub=hub)
