"""Text at the user's own paths, as token files to draw from: read, cut and encoded as `doremi prepare` does.

The settings of the run's own text hold, and its tokenizer. As there, a part of the text is held out, and what is held
out is drawn from no domain. The token files lie beside the runs, under their key. So another form of the same text
takes them as they are, and `doremi clean` finds them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from doremi.config.loading import load_run
from doremi.corpus import library
from doremi.corpus.key import corpus_key
from doremi.corpus.parts import PrepareRequest
from doremi.corpus.prepare import Progress, prepare
from doremi.corpus.sources import find_files
from doremi.corpus.store import disk_errors
from doremi.corpus.value import Corpus
from doremi.errors import ExportError
from doremi.export.mapping import Place, Places
from doremi.export.measure import Measured, measure_index
from doremi.rundir.data_request import prepare_request
from doremi.rundir.layout import RunDirectory
from doremi.rundir.lock import in_turn


def mapped_corpus(
    run: RunDirectory, places: Mapping[str, Places], names: Iterable[str], say: Callable[[str], None]
) -> Corpus:
    """The token files of the text at the paths of these domains, made where they are not there yet.

    `ExportError` for a path with token files of a trainer, `DataError` for one without text, `ConfigError` for a run
    whose configuration does not hold any more.
    """
    request = _request(run, places, names)
    key = corpus_key(request)
    folder = library.place(run.root.resolve().parent, key)
    with disk_errors(folder), in_turn(folder, say, _never):
        if (corpus := library.find(folder, key)) is not None:
            return corpus
        for left_over in folder.rglob(".*.tmp"):
            left_over.unlink()
        say(f"the text of {', '.join(map(repr, request.domains))} is encoded into {folder}")
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
        _check_text(name, paths)
        source = own.domains[name]
        held = () if source.part is not None else source.validation  # files of all domains are no files of one
        sources[name] = replace(source, train=paths, validation=held, sample_tokens=None, part=None)
        find_files(sources[name], key=f"paths of {name}", look_inside=False)
    return replace(own, domains=sources, tokenizer=str((run.corpus_folder / "tokenizer").resolve()))


def _check_text(name: str, paths: Iterable[str]) -> None:
    for path in paths:
        if measure_index(path, itemsize=2) != Measured():
            raise ExportError(
                f"domain {name!r}: {path}: holds tokens or samples of a trainer, and `doremi sample` draws from text; "
                "give files of text"
            )


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
