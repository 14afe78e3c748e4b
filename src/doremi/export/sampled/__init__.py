"""`doremi sample`: the third step of the paper, "resample a data set", written out as files of whole documents.

    receipt.py    what was asked for, and what was drawn
    decoding.py   whether decoded text is the text that was read
    mapped.py     token files of the user's own text
    stint.py      what one of several commands does, where a scheduler's jobs write a data set together
    folder.py     who may write into its folder

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
from doremi.corpus.store import AGAIN, verify_files, verify_in_place
from doremi.corpus.value import Corpus
from doremi.drawing.counts import Count, count, intended_tokens
from doremi.drawing.forms import FORMS, form_named
from doremi.drawing.order import Order, most_shards
from doremi.drawing.shards import Job, Write
from doremi.drawing.source import Source
from doremi.errors import DamageError, ExportError, Interrupted
from doremi.export.blend import Blend
from doremi.export.files import check_folder, refuse_in_path
from doremi.export.mapping import Places, check_complete, tokens_given
from doremi.export.read import Asked as Wanted
from doremi.export.read import read_blend
from doremi.export.sampled.decoding import check_decoding, words
from doremi.export.sampled.folder import at_work
from doremi.export.sampled.mapped import mapped_corpus, places_of
from doremi.export.sampled.receipt import NAME, Asked, check_ours, earlier, values_of, write_receipt
from doremi.export.sampled.stint import ALL, BEGIN, HERE, How, Stint
from doremi.files import write_bytes
from doremi.rundir.layout import RunDirectory

__all__ = ["FORMS", "NAME", "check_asked", "most_asked", "sample"]

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
    how: How = HERE,
) -> Path:
    """Draw about `tokens` tokens of the run's corpus by a mixture, as whole documents, into `out`; the receipt's path.

    `to` is a key of `FORMS`. `mixture` is as in `export`. With `places`, by domain, the text that lies there is drawn.
    A finished folder is left alone, an unfinished one goes on. `ExportError` for a folder that holds something else or
    was begun with other settings, `RunError` where the token files are gone, `DamageError` where one has another size
    than it should have, and what `mapped_corpus` raises.
    """
    wanted = check_asked(run, tokens=tokens, to=to, out=out)
    with _interrupted(out):
        blend, corpus = _drawn_from(run, Wanted(mixture, wanted, places or {}, lengths=False), say)
    weights = {domain.name: float(domain.weight) for domain in blend.domains}
    asked = Asked(to, wanted, weights, corpus.fingerprint, int(run.config().get("seed", 0)))
    earlier(out, asked)
    with at_work(out, how.stint, say), _interrupted(out):
        before = earlier(out, asked)
        drawing = _Drawing(asked, blend, corpus, out, how.write)
        return drawing.go_on(how.stint, before, _workers(run) if how.stint == ALL else 1, say)


def check_asked(run: RunDirectory, *, tokens: str, to: str, out: Path) -> int:
    """How many tokens are asked for; `ExportError` for what cannot be, before anything is read."""
    form_named(to)
    wanted = tokens_given("--tokens", tokens)
    check_folder(out, run)
    if to == "megatron":
        refuse_in_path(out.resolve(), " ", "Megatron")
    check_ours(out)
    return wanted


def most_asked(tokens: int) -> int:
    """How many shards so many tokens have at most."""
    return -(-tokens // SHARD_TOKENS)


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

    def go_on(self, stint: Stint, before: dict[str, Any] | None, workers: int, say: Say) -> Path:
        """Do what is missing of it and belongs to the stint."""
        if before is not None and before["finished"] and _is_whole(self.out, before["files"]):
            say(f"{self.out}: this data set is finished already, with {before['total']['tokens']:,} tokens")
            return self.out / NAME
        verify_files(self.corpus, full=False, splits=("train",))
        verify_in_place(self.corpus, full=False)
        receipt = self._begun(before, say) if stint.begins else before
        if receipt is None:
            raise ExportError(f"{self.out}: nothing is begun there; do so with --jobs {BEGIN.name}")
        job = self._job(receipt)
        if stint.share is not None:
            self._write(job, stint.numbers(job.shards), receipt["files"], workers, say)
        return self._ended(job, receipt) if stint.ends else self.out / NAME

    def _begun(self, before: dict[str, Any] | None, say: Say) -> dict[str, Any]:
        """The receipt, with all that decides the shards."""
        counts = self._counts()
        receipt = values_of(self.asked, self.blend, counts, self.corpus)
        if FORMS[self.asked.to].is_text:
            draws = [one.draws for one in counts]
            receipt["notes"].append(words(*check_decoding(self.corpus, self.source, self.order, draws)))
        for note in receipt["notes"]:
            say(note)
        receipt["files"] = {} if before is None else before["files"]
        write_receipt(self.out, receipt)
        return receipt

    def _job(self, receipt: dict[str, Any]) -> Job:
        draws = tuple(receipt["domains"][domain.name]["documents"] for domain in self.blend.domains)
        shards = min(most_asked(self.asked.tokens), most_shards(draws))
        return Job(self.out.resolve(), self.asked.to, self.source, self.order, draws, shards)

    def _ended(self, job: Job, receipt: dict[str, Any]) -> Path:
        missing = [path for path in _files(job) if not _is_there(path, receipt["files"])]
        if missing:
            raise ExportError(
                f"{self.out}: files that are not written yet: {len(missing)}, the first is {missing[0].name}. Run the "
                "jobs again that write them, or the same command without --jobs"
            )
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

    def _write(self, job: Job, own: range, sizes: dict[str, int], workers: int, say: Say) -> None:
        missing = [one for one in own if not all(_is_there(path, sizes) for path in job.paths(one))]
        left = len(missing)
        if left < len(own):
            say(f"{len(own) - left} of {len(own)} shards are there already")

        def done() -> None:
            nonlocal left
            left -= 1
            say(f"{len(own) - left} of {len(own)} shards are written")

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
def _interrupted(out: Path) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"{out}: stopped. Finished shards are kept. Run the same command to go on.") from None
