"""Which prepared corpus a run uses: the one that the configuration names, or the one that the run has recorded for the
same settings, or the one that is found beside the runs by its key.

A recorded one is used although its sources have changed, or are gone: nothing changes under a run that has begun.
"""

from __future__ import annotations

from pathlib import Path

from doremi.config import RunConfig
from doremi.config.prepared import asked, check
from doremi.corpus import library
from doremi.corpus.key import corpus_key
from doremi.corpus.source_record import change_warning, source_changes
from doremi.corpus.value import Corpus
from doremi.errors import ConfigError, RunError
from doremi.rundir.data_request import domain_sources, prepare_request
from doremi.rundir.layout import RunDirectory


def find(config: RunConfig) -> Corpus | None:
    """The corpus that a run of this configuration uses, with the sizes of whole domains that this one says.

    None if it is not prepared yet. Reads no source.

    `DataError` where the corpus must be looked for by its sources and one has no files, `ConfigError` for settings that
    are not those of the corpus named, `RunError` where there is no such corpus.
    """
    corpus = _find(config)
    return None if corpus is None else corpus.sized(config.data.given)


def _find(config: RunConfig) -> Corpus | None:
    named = Path(config.data.corpus) if config.data.corpus is not None else None
    if named is not None and (named / "manifest.json").exists():
        check(config.data)
        corpus = Corpus.read(named)
        if corpus.domains != config.domains:
            raise ConfigError(f"data.corpus: {named}: has other domains than data.domains: {', '.join(corpus.domains)}")
        return corpus
    if (recorded := _recorded(config)) is not None:
        return recorded
    if named is not None:
        raise RunError(f"data.corpus: {named}: there is no prepared corpus; check the path, or leave data.corpus out")
    key = corpus_key(prepare_request(config))
    return library.find(library.place(Path(config.runs), key), key)


def _recorded(config: RunConfig) -> Corpus | None:
    """The corpus that the run has used for these settings, if it is still there."""
    copy = RunDirectory(config.root).corpus_folder
    where = library.recorded(copy)
    if where is None or where.asked != asked(config.data):
        return None
    try:
        return library.locate(copy)
    except RunError:
        return None  # it is prepared anew from its sources, if these are there


def changes(config: RunConfig, corpus: Corpus) -> str | None:
    """What to tell the user of sources that are no longer those of the corpus; None if there is nothing to tell."""
    found = source_changes(corpus.folder, domain_sources(config))
    return change_warning(found, RunDirectory(config.root).corpus_folder)
