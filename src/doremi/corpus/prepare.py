"""From files of text to a corpus folder: tokenizer, validation split, token files, manifest. See docs/formats.md.

    files -> documents (readers) -> token bytes (encoding) -> train or validation (validation) -> files (store)

The parent reads, decides and writes in the order of the files, so the same bytes come out for any number of workers.
A domain is published when it is complete; the manifest comes last. What was interrupted keeps its finished domains,
if nothing about them has changed, and starts the others again.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from doremi.corpus.bpe import Progress as TrainingProgress
from doremi.corpus.encoding import Encoded, Encoder, worker_count
from doremi.corpus.readers import expand, file_version, read_documents
from doremi.corpus.store import DomainWriter, disk_errors, expected_size
from doremi.corpus.tokenizer import TextTokenizer, load_tokenizer, train_tokenizer
from doremi.corpus.validation import DISTINCT, Holdout, Rule, digest_of, make_rule
from doremi.domains import DomainSet, folder_name
from doremi.errors import DataError, DoremiError, Interrupted, RunError
from doremi.files import FORMAT, key_of, read_json, write_json
from doremi.runs import Corpus

_METHOD = 2  # part of every domain's key: raise it when the same files would give other bytes
_RESERVED = ("manifest.json", "tokenizer")  # what lies in the corpus folder beside the domains
_REPORT_EVERY = 1 << 20  # bytes of text between two calls of `progress`

Progress = Callable[[str, int], None]
Stop = Callable[[], bool]


@dataclass(frozen=True)
class DomainSource:
    """Where a domain's text is: files, folders, globs or addresses. Without `validation`, some of `train` is held out.

    `epochs` is the number of passes that the natural mixture counts this domain with.
    """

    train: Sequence[str]
    validation: Sequence[str] = ()
    text_field: str = "text"
    epochs: float = 1.0


@dataclass(frozen=True)
class PrepareRequest:
    """What to prepare. `tokenizer` is None (train one of `vocab_size` tokens) or a name or path to load.

    `tokenizer_sample_bytes` and `validation_max_tokens` bound the sample over all domains and the validation tokens
    of each; `validation_fraction` is the share of documents held out where a domain has no validation files.
    `workers` 0 means all cores. A domain needs `sequence_length` + 1 training tokens.
    """

    domains: Mapping[str, DomainSource]
    sequence_length: int
    tokenizer: str | None = None
    vocab_size: int = 8192
    tokenizer_sample_bytes: int = 32 << 20
    validation_fraction: float = 0.01
    validation_max_tokens: int = 1_000_000
    workers: int = 0


class _Document(NamedTuple):
    """What travels with a text through the encoder; an empty text has no digest."""

    digest: bytes | None
    size: int


@dataclass(frozen=True)
class _Plan:
    """A domain whose files exist and whose validation rule is known."""

    name: str
    source: DomainSource
    train: list[str]
    validation: list[str]
    rule: Rule

    def texts(self, files: list[str], stop: Stop) -> Generator[str, None, None]:
        for text in read_documents(files, text_field=self.source.text_field, domain=self.name):
            if stop():
                raise Interrupted(f"stopped while reading domain {self.name!r}")
            yield text


def prepare(
    request: PrepareRequest,
    folder: Path,
    *,
    progress: Progress | None = None,
    stop: Stop | None = None,
    training: TrainingProgress | None = None,
) -> Corpus:
    """Write the corpus folder and return it; the manifest appears last.

    `progress(domain, bytes)` is called about every megabyte of text with the bytes of that domain so far;
    `training(step, share)` is told how far the training of a tokenizer is, from 0 to 1. `stop()` is asked at every
    document and while a tokenizer is trained, and `Interrupted` is raised soon after it says True. `DataError` for the
    user's files, `ConfigError` for the tokenizer, `RunError` where `folder` cannot be written.
    """
    stop = stop or (lambda: False)
    names = _check_names(request)
    plans = [_plan(name, request.domains[name], request, stop) for name in names]
    tokenizer = _tokenizer(request, plans, stop, training)
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "manifest.json").unlink(missing_ok=True)
        tokenizer.save(folder / "tokenizer")
    try:
        with Encoder(tokenizer.spec, worker_count(request.workers)) as encoder:
            work = _Work(request, folder, tokenizer, encoder, progress or (lambda name, done: None), stop)
            entries = {plan.name: _entry(plan, work) for plan in plans}
    except RunError:
        if stop():  # a signal to the whole group ends the workers too, and they are not to blame
            raise Interrupted("stopped while preparing the corpus") from None
        raise
    with disk_errors(folder):
        write_json(folder / "manifest.json", _manifest(tokenizer, entries))
        for plan in plans:
            _finished_file(folder, plan).unlink(missing_ok=True)
    return Corpus.read(folder)


# -- what there is to do ---------------------------------------------------------------------------------------------


def _check_names(request: PrepareRequest) -> DomainSet:
    names = DomainSet(request.domains)
    for name in names:
        if folder_name(name).casefold() in _RESERVED:
            raise DataError(f"domain name {name!r} is the name of a file of the corpus folder; rename the domain")
    return names


def _plan(name: str, source: DomainSource, request: PrepareRequest, stop: Stop) -> _Plan:
    """Find the files and read as far as the validation rule needs, so that most mistakes show before any work."""
    key = f"data.domains.{name}"
    train = expand(source.train, key=f"{key}.train")
    validation = expand(source.validation, key=f"{key}.validation")
    both = sorted(set(train) & set(validation))
    if both:
        raise DataError(f"domain {name!r}: {both[0]} is both a training and a validation file; remove it from one")
    fraction = 1.0 if validation else request.validation_fraction
    plan = _Plan(name, source, train, validation, Rule(fraction))
    with closing(plan.texts(validation or train, stop)) as texts:
        rule, distinct = make_rule((digest_of(text.encode()) for text in texts if _has_text(text)), fraction)
    if validation and distinct < 2:
        raise DataError(
            f"domain {name!r}: its validation files hold {_count(distinct)}; at least 2 different ones are needed"
        )
    if not validation and distinct < DISTINCT:
        raise DataError(
            f"domain {name!r} has {_count(distinct)}; give it at least {DISTINCT} different ones, "
            "or 1 and validation files"
        )
    return _Plan(name, source, train, validation, rule)


def _count(documents: int) -> str:
    return f"{documents or 'no'} document{'' if documents == 1 else 's'} with text"


def _has_text(text: str) -> bool:
    return bool(text) and not text.isspace()


def _tokenizer(
    request: PrepareRequest, plans: list[_Plan], stop: Stop, training: TrainingProgress | None
) -> TextTokenizer:
    if request.tokenizer is not None:
        return load_tokenizer(request.tokenizer)
    share = request.tokenizer_sample_bytes // len(plans)
    sample = (text for plan in plans for text in _sample(plan, share, stop))
    return train_tokenizer(sample, request.vocab_size, progress=training, stop=stop)


def _sample(plan: _Plan, share: int, stop: Stop) -> Iterator[str]:
    """The first `share` bytes of a domain's training documents, without those that may be held out."""
    left = share
    with closing(plan.texts(plan.train, stop)) as texts:
        for text in texts:
            data = text.encode()
            if plan.validation or plan.rule.half(digest_of(data)) is None:
                yield data[:left].decode(errors="ignore")
                left -= len(data)
            if left <= 0:
                return


# -- one domain ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Work:
    """What all domains share."""

    request: PrepareRequest
    folder: Path
    tokenizer: TextTokenizer
    encoder: Encoder
    progress: Progress
    stop: Stop

    @cached_property  # asked for at every document
    def itemsize(self) -> int:
        return 2 if self.tokenizer.dtype == "uint16" else 4


def _entry(plan: _Plan, work: _Work) -> dict[str, Any]:
    """The domain's part of the manifest: from an earlier, interrupted preparation, or made now."""
    key = _key(plan, work)
    place = _finished_file(work.folder, plan)
    counts = _finished(place, key, work)
    if counts is None:
        place.unlink(missing_ok=True)
        counts = _write_domain(plan, work)
        with disk_errors(place.parent):
            write_json(place, {"format": FORMAT, "key": key, "counts": counts})
    return {"folder": place.parent.name, "epochs": float(plan.source.epochs), **counts}


def _finished_file(folder: Path, plan: _Plan) -> Path:
    """Says, until the manifest is written, that this domain is complete."""
    return folder / folder_name(plan.name) / "domain.json"


def _key(plan: _Plan, work: _Work) -> str:
    """Everything that the domain's files depend on. Input files count by name, size and time."""
    request = work.request
    return key_of(
        {
            "method": _METHOD,
            "tokenizer": work.tokenizer.sha256,
            "text_field": plan.source.text_field,
            "files": [[(file, file_version(file)) for file in files] for files in (plan.train, plan.validation)],
            "validation": [request.validation_fraction, request.validation_max_tokens],
            "sequence_length": request.sequence_length,
        }
    )


def _finished(place: Path, key: str, work: _Work) -> dict[str, Any] | None:
    try:
        found = read_json(place, "finished domain")
        counts = found["counts"] if found["key"] == key else {}
        for split in counts.values():
            for name in split["files"]:
                if (work.folder / name).stat().st_size != expected_size(Path(name), split, work.itemsize):
                    return None
        return counts or None
    except (DoremiError, OSError, KeyError):
        return None


def _write_domain(plan: _Plan, work: _Work) -> dict[str, Any]:
    holdout = Holdout(plan.rule, work.request.validation_max_tokens)
    with DomainWriter(work.folder / folder_name(plan.name), work.tokenizer.dtype) as writer:
        if plan.validation:
            _write_given_validation(plan, work, holdout, writer)
        _write_train(plan, work, holdout, writer)
        _check_length(plan, work, writer)
        return writer.finish()


def _write_given_validation(plan: _Plan, work: _Work, holdout: Holdout, writer: DomainWriter) -> None:
    """Validation files in order, each text once, until both halves are full."""
    with _encoded(plan, plan.validation, work) as documents:
        for tokens, unknown, (digest, size) in documents:
            if digest is None or digest in holdout.kept:
                writer.validation.skip()
            elif (half := holdout.take(digest, len(tokens) // work.itemsize)) is not None:
                writer.validation.add(tokens, size, half, unknown=unknown)
            if holdout.full:
                return


def _write_train(plan: _Plan, work: _Work, holdout: Holdout, writer: DomainWriter) -> None:
    """Training files in order. What is held out goes to validation, a text that is there already is left out."""
    done = reported = 0
    with _encoded(plan, plan.train, work) as documents:
        for tokens, unknown, (digest, size) in documents:
            done += size
            if digest is None or digest in holdout.kept:
                writer.train.skip()
            elif plan.validation or (half := holdout.take(digest, len(tokens) // work.itemsize)) is None:
                writer.train.add(tokens, size, unknown=unknown)
            else:
                writer.validation.add(tokens, size, half, unknown=unknown)
            if done - reported >= _REPORT_EVERY:
                work.progress(plan.name, done)
                reported = done
    work.progress(plan.name, done)


def _encoded(plan: _Plan, files: list[str], work: _Work) -> AbstractContextManager[Iterator[Encoded[_Document]]]:
    """Each document encoded, in order; closing it cancels what is still on the way."""
    documents = map(_tagged, plan.texts(files, work.stop))
    return closing(work.encoder.encode(documents))


def _tagged(text: str) -> tuple[str, _Document]:
    data = text.encode()
    return (text, _Document(digest_of(data), len(data))) if _has_text(text) else ("", _Document(None, len(data)))


def _check_length(plan: _Plan, work: _Work, writer: DomainWriter) -> None:
    found, needed = writer.train.counts["tokens"], work.request.sequence_length + 1
    if found < needed:
        raise DataError(
            f"domain {plan.name!r} has {found:,} training tokens; one sequence needs {needed:,}: "
            "add text, shorten the sequence length, or merge it with another domain"
        )


# -- the manifest ----------------------------------------------------------------------------------------------------


def _manifest(tokenizer: TextTokenizer, entries: dict[str, Any]) -> dict[str, Any]:
    described = {
        "sha256": tokenizer.sha256,
        "vocab_size": tokenizer.vocab_size,
        "end_of_text": tokenizer.end_of_text,
        "end_of_text_id": tokenizer.end_of_text_id,
    }
    body = {"format": FORMAT, "tokenizer": described, "dtype": tokenizer.dtype, "domains": entries}
    # `source` may be a path of this machine: it is told, but is no part of the identity.
    return {**body, "tokenizer": {"source": tokenizer.source, **described}, "fingerprint": key_of(body)}
