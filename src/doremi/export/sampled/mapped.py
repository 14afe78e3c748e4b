"""Text or tokens at the user's own paths, to draw from: read, cut and encoded as `doremi prepare` does.

The settings of the run's own text hold, and its tokenizer. As there, a part of the text is held out, and what is held
out is drawn from no domain. The token files lie beside the runs, under their key. So another form of the same text
takes them as they are, and `doremi clean` finds them. Tokens are used where they lie, if this tokenizer made them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from doremi.config.loading import load_run
from doremi.corpus import library
from doremi.corpus.key import corpus_key
from doremi.corpus.parts import PrepareRequest
from doremi.corpus.prepare import Progress, prepare
from doremi.corpus.readers import read_shaped
from doremi.corpus.sources import DomainSource, find_all, find_files
from doremi.corpus.store import disk_errors
from doremi.corpus.tokenized.asked import TokenIds
from doremi.corpus.tokenized.find import TABLES, holds_tokens
from doremi.corpus.tokenized.glance import count
from doremi.corpus.tokenized.opening import Opening
from doremi.corpus.tokenizer import load_tokenizer
from doremi.corpus.value import Corpus
from doremi.errors import DataError, ExportError
from doremi.export.mapping import Place, Places
from doremi.export.measure import index_of_samples
from doremi.rundir.data_request import prepare_request
from doremi.rundir.layout import RunDirectory
from doremi.rundir.lock import in_turn


def mapped_corpus(
    run: RunDirectory, places: Mapping[str, Places], names: Iterable[str], say: Callable[[str], None]
) -> Corpus:
    """The token files of what lies at the paths of these domains, made where they are not there yet.

    `ExportError` for tokens that the run's tokenizer has not made, and for samples of a trainer; `DataError` for a path
    without text and tokens, `ConfigError` for a run whose configuration does not hold any more.
    """
    request = _request(run, places, names)
    key = corpus_key(request)
    folder = library.place(run.root.resolve().parent, key)
    with disk_errors(folder), in_turn(folder, say, _never):
        if (corpus := library.find(folder, key)) is not None:
            return corpus
        for left_over in folder.rglob(".*.tmp"):
            left_over.unlink()
        _check_tokens(request, folder, say)
        say(_what_is_done(request, folder))
        return prepare(request, folder, key=key, progress=_in_tenths(say))


def places_of(corpus: Corpus) -> dict[str, Places]:
    """The same domains as paths of known size."""
    return {
        name: Places(
            paths=(Place(path=str(corpus.folder / entry.folder)),),
            tokens=entry.train.tokens,
            tokens_per_document=entry.train.tokens / entry.train.documents,
        )
        for name, entry in corpus.entries.items()
    }


def _request(run: RunDirectory, places: Mapping[str, Places], names: Iterable[str]) -> PrepareRequest:
    own = prepare_request(load_run(run.root))
    sources = {}
    for name in names:
        paths = tuple(place.path for place in places[name].paths)
        source = own.domains[name]
        held = () if source.part is not None else source.validation  # files of all domains are no files of one
        text = replace(source, train=paths, validation=held, sample_tokens=None, part=None, ids=None)
        sources[name] = _as_it_is(name, text, source.ids or TokenIds())
    return replace(own, domains=sources, tokenizer=str((run.corpus_folder / "tokenizer").resolve()))


def _as_it_is(name: str, text: DomainSource, ids: TokenIds) -> DomainSource:
    """The source as text, or as tokens where that is what its files hold."""
    key = f"paths of {name}"
    for path in text.train:
        if index_of_samples(path) is not None:
            raise ExportError(f"domain {name!r}: {path}: holds samples of a trainer; give files of text or of tokens")
    tokens = replace(text, validation=(), ids=ids)
    if holds_tokens(text.train):
        find_files(tokens, key=key)
        return tokens
    try:
        first = find_files(text, key=key).train[0].path
        if first.endswith(TABLES):
            next(read_shaped([first], shape=text.shape, domain=name), None)
    except DataError:
        with contextlib.suppress(DataError):  # tables may hold either
            for file in find_files(tokens, key=key).train:
                count(name, file, ids)
            return tokens
        raise
    return text


def _check_tokens(request: PrepareRequest, folder: Path, say: Callable[[str], None]) -> None:
    """`ExportError` where documents of tokens give other tokens when they are decoded and encoded again."""
    tokenizer = load_tokenizer(str(request.tokenizer))
    opening = Opening(request, folder, tokenizer, _never, _in_tenths(say))
    for name, files in find_all(request.domains, key="paths").items():
        try:
            reading = opening.of(name, files)
        except DataError as error:
            raise ExportError(f"{error}. `doremi sample` takes tokens of the run's tokenizer only") from None
        if reading is not None and reading.comes_back.is_strange:
            raise ExportError(
                f"domain {name!r}: {files.train[0].path}: the run's tokenizer has not made these tokens. All of "
                f"{reading.comes_back.looked} documents come out as others when they are decoded and encoded again"
            )
        for note in reading.notes if reading is not None else ():
            say(f"domain {name!r}: {note}")


def _what_is_done(request: PrepareRequest, folder: Path) -> str:
    text = [repr(name) for name, source in request.domains.items() if source.ids is None]
    tokens = [repr(name) for name, source in request.domains.items() if source.ids is not None]
    said = [f"the text of {', '.join(text)} is encoded into {folder}"] if text else []
    said += [f"the tokens of {', '.join(tokens)} are used where they lie"] if tokens else []
    return "; ".join(said)


def _in_tenths(say: Callable[[str], None]) -> Progress:
    """Says of each thing that is read when another tenth of it is done: a large text takes hours."""
    said: dict[str, int] = {}

    def tell(what: str, done: int, total: int) -> None:
        tenths = 10 * done // max(1, total)
        if tenths > said.get(what, 0):
            said[what] = tenths
            say(f"{what}: {10 * tenths} % is read")

    return tell


def _never() -> bool:
    return False
