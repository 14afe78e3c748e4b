"""Files at addresses: servers that break off, are busy, refuse or lose objects; S3 as moto has it."""

from __future__ import annotations

import gzip
import io
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from doremi.corpus import remote
from doremi.corpus.patterns import expand
from doremi.corpus.readers import read_documents
from doremi.errors import DataError
from loopback import Behaviour, served
from shaped import WORDS, lines, mixed, texts_of
from test_shapes import config, doremi, everything, here, refused

TOPICS = list(WORDS)
WEB = [name for name in ("aiohttp", "requests") if find_spec(name) is None]
S3 = [name for name in ("moto", "s3fs", "flask") if find_spec(name) is None]
needs_web = pytest.mark.skipif(bool(WEB), reason=f"not installed: {', '.join(WEB)}")
needs_s3 = pytest.mark.skipif(bool(S3), reason=f"not installed: {', '.join(S3)}")
__all__ = ["here"]


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "FIRST_WAIT", 0.001)


# -- what fails and what passes, without a server --------------------------------------------------------------------


class Broken(io.BytesIO):
    """A file that gives no more than so many bytes before it fails."""

    def __init__(self, data: bytes, system: System) -> None:
        super().__init__(data)
        self._left, self._system = system.gives, system

    def read(self, size: int | None = -1) -> bytes:
        if self._left <= 0:
            raise self._system.error
        found = super().read(min(self._left, size or 0))
        self._left -= len(found)
        return found


class System:
    """As much of fsspec's file systems as a file needs."""

    def __init__(self, data: bytes, gives: int, error: Exception) -> None:
        self.data, self.gives, self.error = data, gives, error
        self.blocks: list[int] = []

    def open(self, path: str, mode: str, *, block_size: int, **_: Any) -> Broken:
        self.blocks.append(block_size)
        return Broken(self.data, self)


def file_of(system: System) -> remote._Patient:
    return remote._Patient(system, "x", len(system.data), exactly=False, web=False)


def test_reading_goes_on_where_it_broke_off_and_asks_for_less() -> None:
    data = os.urandom(10_000)
    system = System(data, 999, OSError("reset by peer"))
    assert file_of(system).read(0) == b""
    assert io.BufferedReader(file_of(system), 500).read() == data
    assert len(system.blocks) > 10
    assert system.blocks[0] == remote.BLOCK
    assert system.blocks[-1] == remote.SMALLEST_BLOCK


def test_a_server_that_is_calm_again_is_asked_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "CALM", 2000)
    system = System(os.urandom(10_000), 999, OSError("reset by peer"))
    file = file_of(system)
    assert file.read(1500) == system.data[:1500]
    assert system.blocks == [remote.BLOCK, remote.BLOCK // 4]
    system.gives = 10**6
    assert file.read(4000) == system.data[1500:5500]
    assert file.read(4000) == system.data[5500:9500]
    assert system.blocks[-1] == remote.BLOCK > system.blocks[-2]


def test_what_never_passes_is_told_after_some_tries() -> None:
    system = System(b"x" * 10, 0, OSError("reset by peer"))
    with pytest.raises(OSError, match="reset by peer"):
        file_of(system).read(5)
    assert len(system.blocks) == remote.TRIES
    for error, says in (
        (FileNotFoundError("x"), "no such object"),
        (PermissionError("Forbidden"), "Forbidden; check the credentials in the environment"),
    ):
        system = System(b"x" * 10, 0, error)
        with pytest.raises(type(error), match=says):
            file_of(system).read(5)
        assert len(system.blocks) == 1


# -- a web server ----------------------------------------------------------------------------------------------------


def packed(topic: str) -> bytes:
    return gzip.compress(lines([{"text": text} for text in texts_of(topic)]), 0)


def table(topic: str) -> bytes:
    held = io.BytesIO()
    parquet.write_table(pa.table({"text": texts_of(topic)}), held, row_group_size=16)
    return held.getvalue()


def files() -> dict[str, bytes]:
    return {
        "/web/a.jsonl.gz": packed("web"),
        "/web/validation/a.txt": b"held out",
        "/code/a.parquet": table("code"),
        "/law/a.jsonl": lines([{"text": text} for text in texts_of("law")]),
    }


def of_web(address: str) -> None:
    config(
        domains={
            "web": f"{address}/web/a.jsonl.gz", "code": f"{address}/code/a.parquet?download=true",
            "law": f"{address}/law/",
        }
    )  # fmt: skip


@needs_web
@pytest.mark.slow
@pytest.mark.parametrize(
    "how",
    [{}, {"breaks_after": 700}, {"busy_every": 3}, {"parts": False}, {"breaks_after": 900, "busy_every": 4}],
    ids=str,
)
def test_a_run_over_a_web_server(how: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "SMALLEST_BLOCK", 256)
    monkeypatch.setattr(remote, "BLOCK", 4096)
    monkeypatch.setattr(remote, "TRIES", 12)
    stored = files()
    stored["/code/a.parquet?download=true"] = stored.pop("/code/a.parquet")
    behaviour = Behaviour(stored, **how)
    with served(behaviour) as address:
        of_web(address)
        doremi("prepare" if how else "run", "my.yaml")
        for topic in TOPICS:
            assert everything(topic) == sorted(texts_of(topic))
        assert "changed" not in doremi("status", "my.yaml")
        if "busy_every" in how:
            assert any(status == 429 for _, _, status in behaviour.asked)


@needs_web
@pytest.mark.slow
def test_init_at_an_address_of_a_file_for_all() -> None:
    with served(Behaviour({"/all.jsonl": lines(mixed(TOPICS))})) as address:
        doremi("init", "my.yaml", f"{address}/all.jsonl", "--domain-field", "meta.source")
        doremi("prepare", "my.yaml")
        assert everything("law") == sorted(texts_of("law"))


@needs_web
@pytest.mark.slow
def test_a_large_file_is_not_read_to_be_found() -> None:
    behaviour = Behaviour({"/big.jsonl": b'{"text": "x"}\n' * 1_000_000})
    with served(behaviour) as address:
        (file,) = expand(f"{address}/big.jsonl", "k")
        assert (file.size, file.explicit, bool(file.version)) == (14_000_000, True, True)
        assert behaviour.sent == 0
        texts = read_documents([file.path], text_field="text", domain="web")
        next(texts)
        assert behaviour.sent < 7 << 20


@needs_web
@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"refuses": 401}, "the server refuses access: 401; check the credentials in the environment"),
        ({"refuses": 403}, "the server refuses access: 403"),
        ({"refuses": 404}, "there is no such file or folder"),
        ({"refuses": 503}, "the server answered 503"),
        ({"vanish_after": 0}, "there is no such"),
    ],
    ids=str,
)
def test_what_a_web_server_says_is_one_line(how: dict[str, Any], says: str) -> None:
    with served(Behaviour(files(), **how)) as address:
        config(domains={"web": f"{address}/web/a.jsonl.gz", "law": f"{address}/law/a.jsonl"})
        assert says in refused("prepare", "my.yaml")


# -- S3 --------------------------------------------------------------------------------------------------------------

KEY = "k3y-that-nobody-writes"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of an S3 server with a bucket; credentials are in the environment."""
    import s3fs

    port = free_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEY)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        s3fs.S3FileSystem.clear_instance_cache()
        for _ in range(300):
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        client = s3fs.S3FileSystem()
        client.mkdir("texts")
        yield client
    finally:
        s3fs.S3FileSystem.clear_instance_cache()
        server.terminate()
        server.wait()


@needs_s3
@pytest.mark.slow
def test_a_run_over_s3_keeps_no_credential(s3: Any) -> None:
    for path, data in files().items():
        if "validation" not in path:
            s3.pipe_file(f"texts{path}", data)
    said = doremi("init", "my.yaml", "s3://texts")
    assert "web: 1 training file, validation split off" in said
    said += doremi("run", "my.yaml")
    for topic in TOPICS:
        assert everything(topic) == sorted(texts_of(topic))
    assert KEY not in said
    assert [p for p in Path().rglob("*") if p.is_file() and KEY.encode() in p.read_bytes()] == []
    s3.pipe_file("texts/law/a.jsonl", lines([{"text": text} for text in texts_of("law", 61)]))
    assert "1 training file changed (a.jsonl)" in doremi("status", "my.yaml") + doremi("run", "my.yaml", "--dry-run")


@needs_s3
@pytest.mark.slow
def test_what_s3_says_is_one_line(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import s3fs

    s3.pipe_file("texts/web/a.jsonl", lines([{"text": text} for text in texts_of("web")]))
    config(domains={"web": "s3://texts/web", "law": "s3://texts/law"})
    assert "s3://texts/law: there is no such file or folder; check the path" in refused("prepare", "my.yaml")
    config(domains={"web": "s3://texts/web", "law": "s3://other/law"})
    assert "s3://other/law: there is no such file or folder" in refused("prepare", "my.yaml")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    s3fs.S3FileSystem.clear_instance_cache()
    config(domains={"law": "s3://texts/web", "web": "s3://texts/web"})
    assert "check the credentials in the environment" in refused("prepare", "my.yaml")


@needs_s3
@pytest.mark.slow
def test_an_object_that_vanishes_while_it_is_read(s3: Any) -> None:
    s3.pipe_file("texts/web/a.jsonl", b'{"text": "x"}\n' * 1_000_000)
    texts = read_documents(["s3://texts/web/a.jsonl"], text_field="text", domain="web")
    next(texts)
    s3.rm("texts/web/a.jsonl")
    with pytest.raises(DataError, match="there is no such object") as caught:
        list(texts)
    assert "\n" not in str(caught.value)
