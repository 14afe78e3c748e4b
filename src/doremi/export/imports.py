"""`doremi import`: weights of other programs as named mixtures of a run, in fractions of tokens.

A file that doremi exported has a sidecar, which says what its weights count and whose they are. Of any other the form
is told by `--from`, and what the form does not say is asked for: the unit, mean lengths, and the domain of a path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Literal

from doremi.corpus.value import Corpus
from doremi.errors import ExportError, MixtureError, one_line, reason_of
from doremi.export.mapping import Places, read_places
from doremi.export.sidecar import read_sidecar, to_tokens
from doremi.export.target import Target, Weights
from doremi.export.targets import TARGETS
from doremi.export.targets.tables import read_swarm
from doremi.mixture.domains import Mixture, folder_name, is_file_name
from doremi.mixture.published import published_mixture, published_names, published_source
from doremi.mixture.record import MixtureRecord, write_record
from doremi.rundir.imported import imported_place
from doremi.rundir.layout import RunDirectory
from doremi.rundir.named import named_mixtures, nodes_of
from doremi.rundir.weights import check_name

Unit = Literal["tokens", "documents"]
NO_UNIT = ("csv", "yaml", "olmix", "regmix")
"""Forms that do not say what their weights count."""
SWARMS = ("olmix", "regmix")


@dataclass(frozen=True)
class Source:
    """What to import. `form` is a target's name, `unit` what its weights count, where the file does not say them.

    `paths` and `path` name the domain of each path, as for an export, and may give mean lengths.
    """

    file: str
    form: str | None = None
    unit: Unit | None = None
    paths: Path | None = None
    path: tuple[str, ...] = ()


def import_mixtures(
    run: RunDirectory, source: Source, name: str, say: Callable[[str], None] = lambda note: None
) -> list[Path]:
    """Write what `source` holds as mixtures of `run` called `name`, those of a swarm `name-ROW`; returns their files.

    `source.file` may be the name of a published mixture. Raises `ExportError` for a file of another form, and for what
    has to be said and is not; `MixtureError` for a name that is taken, and for weights that do not fit the domains.
    """
    corpus = run.corpus()
    found = _published(source, corpus) or _of_file(source, corpus)
    records = {(f"{name}-{label}" if label else name): record for label, record in found.items()}
    taken = {one.name for one in named_mixtures(nodes_of(run))}
    for one, record in records.items():
        _check(one, taken, corpus, record, source.file)
    for one, record in records.items():
        write_record(imported_place(run, one), record)
    for note in _unnamed(records):
        say(note)
    return [imported_place(run, one) for one in records]


def _unnamed(records: Mapping[str, MixtureRecord]) -> Iterator[str]:
    for name, record in records.items():
        zeros = [domain for domain, weight in record.weights.items() if weight == 0]
        if zeros:
            yield f"{name} has weight 0 for {', '.join(map(repr, zeros))}"


def _check(name: str, taken: set[str], corpus: Corpus, record: MixtureRecord, file: str) -> None:
    if not is_file_name(name):
        raise MixtureError(f"a mixture cannot be called {name!r}: use letters, digits and _.-")
    check_name(f"{name}.json", taken)
    try:
        record.mixture.aligned(corpus.domains)
    except MixtureError as error:
        raise MixtureError(f"{file}: {error}") from None


def _published(source: Source, corpus: Corpus) -> dict[str, MixtureRecord]:
    """A mixture that ships with doremi, in fractions of tokens; `--path NAME=THEIRS` says whose names differ."""
    if source.file not in published_names():
        return {}
    weights = [(name, Decimal(repr(weight))) for name, weight in published_mixture(source.file).weights.items()]
    places = read_places(source.paths, source.path, list(corpus.domains))
    tokens = _by_domain(weights, "tokens", places, corpus, Path(source.file))
    return {"": MixtureRecord(weights=tokens, method="imported", source=published_source(source.file))}


def _of_file(source: Source, corpus: Corpus) -> dict[str, MixtureRecord]:
    file = Path(source.file)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ExportError(
            one_line(
                f"{file}: cannot be read ({reason_of(error)}); give a file, or one of the published mixtures: "
                f"{', '.join(published_names())}"
            )
        ) from None
    sidecar = None if source.form is not None else read_sidecar(file)
    target = _target(source.form or (sidecar.target if sidecar else None), file)
    if sidecar is not None:
        return {"": _record(to_tokens(_read(target, text, file), sidecar, file), target)}
    rows = _rows(target, text, file)
    unit = _unit(source, target, file)
    places = read_places(source.paths, source.path, list(corpus.domains))
    found = {}
    for label, weights in rows.items():
        tokens = _by_domain(weights, unit, places, corpus, file)
        found[label] = _record(tokens, target)
    return found


def _record(tokens: Mapping[str, float], target: Target) -> MixtureRecord:
    weights = dict(Mixture(tokens).weights)
    return MixtureRecord(weights=weights, method="imported", source=f"a file of the form {target.name}")


def _target(form: str | None, file: Path) -> Target:
    if form is None:
        raise ExportError(f"{file}: say what it is with --from: {', '.join(TARGETS)}")
    if form not in TARGETS:
        raise ExportError(f"there is no form {form!r} to import from; there are {', '.join(TARGETS)}")
    return TARGETS[form]


def _read(target: Target, text: str, file: Path) -> Weights:
    try:
        return target.read(text)
    except (ValueError, RecursionError) as error:
        raise ExportError(one_line(f"{file}: as {target.name} it {_clause(str(error))}")) from None


def _clause(reason: str) -> str:
    """Our own readers complete the sentence, those of Python do not."""
    return reason if reason.startswith(("has ", "should ", "is not ", "holds ", "assigns ")) else f"is wrong: {reason}"


def _rows(target: Target, text: str, file: Path) -> dict[str, Weights]:
    """The mixtures of a file by the names of their rows; a single one is not named."""
    if target.name in SWARMS and file.suffix == ".csv":
        try:
            rows = read_swarm(text)
        except ValueError as error:
            raise ExportError(one_line(f"{file}: as {target.name} it {_clause(str(error))}")) from None
        if len(rows) > 1:
            return rows
    return {"": _read(target, text, file)}


def _unit(source: Source, target: Target, file: Path) -> Unit:
    if source.unit is not None:
        return source.unit
    if target.name in NO_UNIT or (target.name == "json" and '"unit"' not in file.read_text(encoding="utf-8")):
        raise ExportError(
            f"{file}: does not say what its weights count; say --unit tokens, or --unit documents with mean lengths"
        )
    return target.counts


def _by_domain(
    weights: Weights, unit: Unit, places: Mapping[str, Places], corpus: Corpus, file: Path
) -> dict[str, float]:
    """Shares of tokens of each domain; a domain that the file does not name has none."""
    names = _names(places, list(corpus.domains))
    tokens: dict[str, Decimal] = dict.fromkeys(corpus.domains, Decimal(0))
    for key, weight in weights:
        domain = _domain(key, names)
        if domain is None:
            raise ExportError(
                f"{file}: {key!r} is not a domain of this run ({', '.join(corpus.domains)}); say which one it is with "
                f"--path NAME={key}"
            )
        tokens[domain] += weight if unit == "tokens" else weight * _length(domain, key, places, file)
    return {name: float(value) for name, value in tokens.items()}


def _length(domain: str, key: str, places: Mapping[str, Places], file: Path) -> Decimal:
    given = places.get(domain)
    lengths = [one.tokens_per_document for one in (given.paths if given else ()) if one.path == key]
    length = next((one for one in lengths if one), given.tokens_per_document if given else None)
    if length is None:
        raise ExportError(
            f"{file}: its weights count documents, and the mean length of {domain!r} is not said; give "
            "tokens_per_document in the file of --paths"
        )
    return Decimal(repr(length))


def _names(places: Mapping[str, Places], domains: Sequence[str]) -> dict[str, str]:
    """The domain of whatever a file may call it: its name, its folder, its paths."""
    found = {folder_name(name): name for name in domains}
    found |= {place.path: name for name, one in places.items() for place in one.paths}
    return found | {name: name for name in domains}


def _domain(key: str, names: Mapping[str, str]) -> str | None:
    """A key as it stands, else the one folder of its path that is a domain's."""
    if key in names:
        return names[key]
    parts = {names[part] for part in key.split("/") if part in names}
    return parts.pop() if len(parts) == 1 else None
