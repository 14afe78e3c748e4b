"""Small corpora of every kind that a preparation tells apart, and one checksum for all that it made of them."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from doremi.corpus.parts import PrepareRequest
from doremi.corpus.sources import DomainSource, Part
from doremi.corpus.tokenized.asked import TokenIds
from token_shapes import written

WORDS = ("the", "river", "market", "people", "often", "walk", "small", "city", "garden", "music", "light", "bread")


def texts(seed: int, count: int) -> list[str]:
    """Short and long documents, some of them empty, some with the text of a special token, some more than once."""
    rng, found = random.Random(seed), list[str]()
    for number in range(count):
        words = rng.choices(WORDS, k=rng.choice([4, 9, 30, 80]))
        found.append(f"{seed}.{number} " + " ".join(words))
    return [*found, found[3], "", "  ", found[7] + " <|endoftext|>", found[1], found[3], found[-1]]


def lines(path: Path, found: list[str]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in found))
    return str(path)


def _domains(folder: Path) -> dict[str, DomainSource]:
    """Web in many files of several kinds; news repeats web's; code has validation files, and trains on some of them."""
    web, news, code = texts(1, 90), texts(2, 60), texts(3, 60)
    lines(folder / "web" / "a.jsonl", web[:30])
    lines(folder / "web" / "b.jsonl", web[30:60])
    (folder / "web" / "c.jsonl.gz").write_bytes(
        gzip.compress("".join(json.dumps({"text": text}) + "\n" for text in web[60:]).encode(), mtime=0)
    )
    for number, text in enumerate(texts(4, 8)[:8]):
        (folder / "web" / f"d{number}.txt").write_text(text)
    lines(folder / "news.jsonl", [*news, *web[5:25], *news[:4]])
    held = texts(5, 12)
    lines(folder / "code" / "validation.jsonl", held)
    lines(folder / "code" / "train.jsonl", [*code, held[2], news[8], held[2] + " " + code[0]])
    return {
        "web": DomainSource([str(folder / "web")]),
        "news": DomainSource([str(folder / "news.jsonl")]),
        "code": DomainSource([str(folder / "code" / "train.jsonl")], [str(folder / "code" / "validation.jsonl")]),
    }


def request(domains: Mapping[str, DomainSource], **changes: Any) -> PrepareRequest:
    base = PrepareRequest(domains, sequence_length=8, vocab_size=400, workers=1)
    return replace(base, validation_fraction=0.1, validation_max_tokens=400, **changes)


def plain(folder: Path) -> PrepareRequest:
    return request(_domains(folder))


def dropped(folder: Path) -> PrepareRequest:
    return request(_domains(folder), drop_duplicates=True)


def skipped(folder: Path) -> PrepareRequest:
    domains = _domains(folder)
    with (folder / "news.jsonl").open("a") as file:
        file.write('{"body": 1}\n{broken\n{"text": "one \\u0000 more"}\n{"text": "the last one of all"}\n')
    return request(domains, skip_bad_records=True)


def of_tables(folder: Path) -> PrepareRequest:
    """Tables with several row groups, a small one and a large one, beside text with another field."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = texts(8, 120)
    for name, part in (("a", rows[:20]), ("b", rows[20:])):
        parquet.write_table(pa.table({"body": part, "id": list(range(len(part)))}), folder / f"{name}.parquet", 4)
    source = DomainSource([str(folder)], text_field="body")
    return request({"tables": source, "text": DomainSource([lines(folder.parent / "text.jsonl", texts(9, 40))])})


def sampled(folder: Path) -> PrepareRequest:
    domains = _domains(folder)
    return request({**domains, "web": replace(domains["web"], sample_tokens=900)})


def parted(folder: Path) -> PrepareRequest:
    """One file with the documents of all, told apart by a field."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"text": text, "of": name} for seed, name in ((1, "web"), (2, "news")) for text in texts(seed, 60)]
    rows += [{"text": "of none", "of": "blog"}]
    random.Random(0).shuffle(rows)
    (folder / "all.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return request({n: DomainSource([str(folder / "all.jsonl")], part=Part("of", (n,))) for n in ("web", "news")})


def of_tokens(folder: Path, **changes: Any) -> PrepareRequest:
    """Two domains used in place, with documents that come again, beside one of text."""
    places = written(folder, ["megatron", "flat", "npy"])
    (folder / "code" / "z.bin").write_bytes((folder / "code" / "tokens.bin").read_bytes()[:2000])
    ids = TokenIds("auto", None, "input_ids")
    domains = {name: DomainSource([place], ids=ids) for name, place in places.items()}
    domains["text"] = DomainSource([lines(folder / "text.jsonl", texts(6, 40))])
    return request(domains, tokenizer=str(folder / "tokenizer"), **changes)


def of_tokens_dropped(folder: Path) -> PrepareRequest:
    return of_tokens(folder, drop_duplicates=True)


def of_tokens_sampled(folder: Path) -> PrepareRequest:
    asked = of_tokens(folder)
    return replace(asked, domains={n: replace(s, sample_tokens=1500) for n, s in asked.domains.items()})


KINDS: dict[str, Callable[[Path], PrepareRequest]] = {
    "plain": plain, "dropped": dropped, "skipped": skipped, "sampled": sampled, "parted": parted, "tables": of_tables,
    "tokens": of_tokens, "tokens dropped": of_tokens_dropped, "tokens sampled": of_tokens_sampled,
}  # fmt: skip


def checksum(corpus: Path) -> str:
    """Of all files of a corpus folder by name, without what names this machine or the time: keys, paths, sources."""
    whole = hashlib.sha256()
    for path in sorted(path for path in corpus.rglob("*") if path.is_file() and path.name != "sources.json"):
        data = path.read_bytes()
        if path.name == "manifest.json":
            manifest = json.loads(data)
            del manifest["key"], manifest["tokenizer"]["source"]
            manifest.pop("places", None)
            data = json.dumps(manifest).encode()
        whole.update(f"{path.relative_to(corpus)} {hashlib.sha256(data).hexdigest()}\n".encode())
    return whole.hexdigest()
