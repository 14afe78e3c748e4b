"""`doremi sample`: the third step of the paper, "resample a data set", written out as files of whole documents.

    receipt.py    what was asked for, and what was drawn
    decoding.py   whether decoded text is the text that was read
    mapped.py     token files of the user's own text

The order, the counts and the shards are in `drawing/`.
How a data set is cut into shards depends on its tokens alone. So any number of processes writes the same bytes, and a
command that was stopped goes on with the shards that are missing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from doremi.corpus.encoding import worker_count
from doremi.corpus.store import AGAIN, verify_files
from doremi.corpus.value import Corpus
from doremi.drawing.counts import Count, count, intended_tokens
from doremi.drawing.forms import FORMS, form_named
from doremi.drawing.order import Order, most_shards
from doremi.drawing.shards import Job, Write, write_shards
from doremi.drawing.source import Source
from doremi.errors import DamageError, ExportError, Interrupted
from doremi.export.blend import Blend
from doremi.export.files import check_folder, refuse_in_path
from doremi.export.mapping import Places, check_complete, tokens_given
from doremi.export.read import Asked as Wanted
from doremi.export.read import read_blend
from doremi.export.sampled.decoding import check_decoding, words
from doremi.export.sampled.mapped import mapped_corpus, places_of
from doremi.export.sampled.receipt import NAME, Asked, check_ours, earlier, values_of, write_receipt
from doremi.files import write_bytes
from doremi.rundir.layout import RunDirectory
from doremi.rundir.lock import Lock, Taken

__all__ = ["FORMS", "NAME", "sample"]

SHARD_TOKENS = 1 << 27  # about; a quarter of a gigabyte as 16-bit tokens
Say = Callable[[str], None]


def sample(
    run: RunDirectory,
    *,
    tokens: str,
    to: str,
    out: Path,
    mixture: str | Path | None = None,
    say: Say = lambda note: None,
    places: Mapping[str, Places] | None = None,
    write: Write = write_shards,
) -> Path:
    """Draw about `tokens` tokens of the run's corpus by a mixture, as whole documents, into `out`; the receipt's path.

    `to` is a key of `FORMS`. `mixture` is as in `export`. With `places`, by domain, the text that lies there is drawn.
    `write` writes the shards. A finished folder is left alone, an unfinished one goes on. `ExportError` for a folder
    that holds something else or was begun with other settings, `RunError` where the token files are gone, `DamageError`
    where one has another size than it should have, and what `mapped_corpus` raises.
    """
    form_named(to)
    wanted = tokens_given("--tokens", tokens)
    check_folder(out, run)
    if to == "megatron":
        refuse_in_path(out.resolve(), " ", "Megatron")
    check_ours(out)
    with _interrupted(out):
        blend, corpus = _drawn_from(run, Wanted(mixture, wanted, places or {}, lengths=False), say)
    weights = {domain.name: float(domain.weight) for domain in blend.domains}
    asked = Asked(to, wanted, weights, corpus.fingerprint, int(run.config().get("seed", 0)))
    earlier(out, asked)
    with _alone(out, say), _interrupted(out):
        before = earlier(out, asked)
        drawing = _Drawing(asked, blend, corpus, out, write)
        return drawing.go_on(before, _workers(run), say)


def _drawn_from(run: RunDirectory, wanted: Wanted, say: Say) -> tuple[Blend, Corpus]:
    """The domains to draw, and the corpus that holds their documents: with paths, those with a weight alone."""
    blend = read_blend(run, asked=replace(wanted, places={}))
    if not wanted.places:
        return blend, blend.whole_corpus
    check_complete(wanted.places, {domain.name: float(domain.weight) for domain in blend.domains})
    corpus = mapped_corpus(run, wanted.places, [domain.name for domain in blend.kept], say)
    blend = read_blend(run, asked=replace(wanted, places=places_of(corpus)))
    held = sum(corpus.count("validation", "tokens"))
    return replace(blend, domains=blend.kept).noted(
        f"{held:,} tokens of the text are held out, as in `doremi prepare`, and not drawn"
    ), corpus


class _Drawing:
    """A data set that is drawn into a folder."""

    def __init__(self, asked: Asked, blend: Blend, corpus: Corpus, out: Path, write: Write) -> None:
        self.asked, self.blend, self.corpus, self.out, self.write = asked, blend, corpus, out, write
        self.source = Source.of(corpus)
        self.order = Order(tuple(corpus.count("train", "documents")), f"sample/{asked.seed}")

    def go_on(self, before: dict[str, Any] | None, workers: int, say: Say) -> Path:
        """Write what is missing of it."""
        if before is not None and before["finished"] and _is_whole(self.out, before["files"]):
            say(f"{self.out}: this data set is finished already, with {before['total']['tokens']:,} tokens")
            return self.out / NAME
        verify_files(self.corpus, full=False, splits=("train",))
        counts = self._counts()
        draws = tuple(one.draws for one in counts)
        receipt = values_of(self.asked, self.blend, counts, self.corpus)
        if FORMS[self.asked.to].is_text:
            receipt["notes"].append(words(*check_decoding(self.corpus, self.source, self.order, draws)))
        for note in receipt["notes"]:
            say(note)
        write_receipt(self.out, receipt)
        shards = min(-(-self.asked.tokens // SHARD_TOKENS), most_shards(draws))
        job = Job(self.out.resolve(), self.asked.to, self.source, self.order, draws, shards)
        self._write(job, {} if before is None else before["files"], workers, say)
        receipt["files"] = {path.name: path.stat().st_size for path in _files(job)}
        if self.asked.to == "megatron":
            write_bytes(self.out / "blend.txt", _blend(job).encode())
        return write_receipt(self.out, {**receipt, "finished": True})

    def _counts(self) -> list[Count]:
        intended = intended_tokens([domain.weight for domain in self.blend.domains], self.asked.tokens)
        counts = [self._count(i, number) if number else Count(0) for i, number in enumerate(intended)]
        if not any(one.draws for one in counts):
            raise ExportError(f"--tokens {self.asked.tokens}: is less than half a document of any domain; give more")
        return counts

    def _count(self, domain: int, intended: int) -> Count:
        ends = self.source.ends(domain)
        if ends[-1] != self.corpus.count("train", "tokens")[domain]:
            raise DamageError(
                f"{self.source.folders[domain] / 'train.ends'}: its last document ends elsewhere; {AGAIN}"
            )
        return count(self.order, domain, ends, intended)

    def _write(self, job: Job, sizes: dict[str, int], workers: int, say: Say) -> None:
        numbers = range(job.shards)
        missing = [one for one in numbers if not all(_is_there(path, sizes) for path in job.paths(one))]
        left = len(missing)
        if left < job.shards:
            say(f"{job.shards - left} of {job.shards} shards are there already")

        def done() -> None:
            nonlocal left
            left -= 1
            say(f"{job.shards - left} of {job.shards} shards are written")

        self.write(job, missing, workers, done)


def _is_there(path: Path, sizes: dict[str, int]) -> bool:
    """Whether a file is there, with its size where that is known."""
    return path.is_file() and path.stat().st_size == sizes.get(path.name, path.stat().st_size)


def _is_whole(folder: Path, sizes: dict[str, int]) -> bool:
    return all(_is_there(folder / name, sizes) for name in sizes)


def _files(job: Job) -> Iterator[Path]:
    return (path for number in range(job.shards) for path in job.paths(number))


def _blend(job: Job) -> str:
    """Megatron's list: each shard is sampled by its tokens, so that all are gone through once together."""
    pairs: Sequence[list[Path]] = [job.paths(number) for number in range(job.shards)]
    return "".join(f"{data.stat().st_size // job.source.itemsize} {data.with_suffix('')}\n" for data, _ in pairs)


def _workers(run: RunDirectory) -> int:
    """`workers` of the configuration; `auto` is one for each core."""
    workers = run.config().get("workers", "auto")
    return workers if isinstance(workers, int) else worker_count(0)


@contextlib.contextmanager
def _alone(out: Path, say: Say) -> Iterator[None]:
    """Nobody else writes into the folder meanwhile."""
    try:
        with Lock(out, out / ".doremi-sample", say).alone():
            yield
    except Taken as error:
        raise ExportError(
            f"{out}: {error.who} is writing there; wait for it or choose another folder{error.gone}"
        ) from None


@contextlib.contextmanager
def _interrupted(out: Path) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"{out}: stopped. Finished shards are kept. Run the same command to go on.") from None
