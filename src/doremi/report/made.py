"""How a run was made, as tables of the page: its models, its time, its settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from doremi.files import size_in_words
from doremi.report.facts import Facts
from doremi.report.tables import Cell, Table
from doremi.report.trainings import SEARCH_ROLES, Training, in_round, records
from doremi.report.words import ABSENT, count, duration, fixed, flattened, inner, listed, number
from doremi.verdict.rates import swept

SETTINGS = 300  # lines of settings that are shown at most


def training_table(facts: Facts) -> Table | None:
    """Every kind of model trained here: seeds, size, steps, tokens, final mean."""
    groups: dict[tuple[str, ...], list[Training]] = {}
    for t in facts.trainings:
        groups.setdefault((str(t.round), t.role, t.method, t.size, t.mixture), []).append(t)
    rows = [_training_row(facts, group) for group in groups.values()]
    titles = ("Model", "Seeds", "Body parameters", "With embeddings", "Steps", "Tokens", "Mean bits per byte")
    columns = [(t, "text" if n < 2 else "number") for n, t in enumerate(titles)]
    caption = "Models trained in this run. Means are over domains, then over seeds."
    return Table("models", caption, columns, rows) if rows else None


def rates_table(facts: Facts) -> Table | None:
    """The loss at each peak learning rate that `doremi tune` has tried."""
    found = swept(facts.run, facts.nodes) if facts.nodes else []
    if not found:
        return None
    rows = [
        [
            Cell(one.size),
            Cell(ABSENT if one.best is None else f"{one.best:g}", small="at an end" if one.at_an_end else ""),
            Cell(", ".join(f"{rate:g}: {fixed(bits, 4)}" for rate, bits in zip(one.rates, one.bits, strict=True))),
        ]
        for one in found
    ]
    caption = "Peak learning rates that were tried, with the mean bits per byte that each gave. Lower is better."
    return Table("rates", caption, [("Size", "text"), ("Best", "number"), ("Tried", "text")], rows)


def _training_row(facts: Facts, group: list[Training]) -> list[Cell]:
    one = group[0]
    done = [t for t in group if t.finished]
    stage = done[0].folder.stage() if done else {}
    seeds = listed(t.seed for t in done) or "none finished"
    means = [number(inner(t.folder.evaluation(), "report", "mean_bits_per_byte")) for t in done]
    return [
        Cell(_model(facts, one), small=next((t.same_as for t in group if t.same_as), "")),
        Cell(seeds, small="; ".join(_progress(t) for t in group if not t.finished)),
        Cell(count(facts.bodies.get(stage.get("parameters", 0)))),
        *(Cell(count(stage.get(what))) for what in ("parameters", "steps", "tokens")),
        Cell(fixed(float(np.mean(means)), 4) if means else ABSENT),
    ]


def _model(facts: Facts, one: Training) -> str:
    if one.role not in SEARCH_ROLES:
        return f"{one.name}, {one.size}" + (f", heat {one.round} of the race" if one.round else "")
    on = f" on {facts.searched_from(facts.search_of(one), one.round)}" if one.role == "reference" else ""
    return in_round(f"{one.role}{facts.of_which(one)}{on}", one.round)


def _progress(training: Training) -> str:
    held = records(training.folder, "train")
    return f"seed {training.seed} unfinished, at step {count(held[-1].get('step') if held else 0)}"


@dataclass
class _Total:
    """Of all that is called the same."""

    seconds: float = 0.0
    tokens: float = 0.0
    rate: float = 0.0
    """The most tokens a second that one device did."""
    memory: float = 0.0
    """The most bytes."""
    mfu: float = 0.0
    """The best."""

    def add(self, entry: Mapping[str, Any]) -> None:
        seconds, tokens, memory, devices = (_or_zero(entry, x) for x in ("seconds", "tokens", "peak_memory", "devices"))
        self.seconds, self.tokens, self.memory = self.seconds + seconds, self.tokens + tokens, max(self.memory, memory)
        if seconds > 0 and "from_step" not in entry:
            self.rate = max(self.rate, tokens / seconds / max(1.0, devices))
            self.mfu = max(self.mfu, _or_zero(entry, "mfu"))

    def cells(self, *, mfu: bool) -> list[Cell]:
        numbers = (count(n) if n else ABSENT for n in (self.tokens, round(self.rate)))
        share = [Cell(f"{self.mfu:.1%}" if self.mfu else ABSENT)] if mfu else []
        memory = Cell(size_in_words(self.memory) if self.memory else ABSENT)
        return [Cell(duration(self.seconds)), *map(Cell, numbers), *share, memory]


def _or_zero(entry: Mapping[str, Any], name: str) -> float:
    return float(np.nan_to_num(number(entry.get(name))))


def time_table(facts: Facts) -> Table | None:
    """Wall-clock time, tokens, rate and memory, by stage; MFU where it is known of any."""
    names = _stages(facts)
    totals: dict[str, _Total] = {}
    for entry in facts.timings:
        totals.setdefault(_stage(names, str(entry.get("stage"))), _Total()).add(entry)
    mfu = any(total.mfu for total in totals.values())
    rows = [[Cell(name), *total.cells(mfu=mfu)] for name, total in totals.items()]
    titles = ("Stage", "Time", "Tokens", "Tokens a second", *(["MFU"] if mfu else []), "Peak memory")
    columns = [(title, "text" if title == "Stage" else "number") for title in titles]
    caption = (
        "Wall-clock time by stage, all seeds together. Tokens a second are those of one process at best, with its "
        "evaluations. Peak memory is that of tensors on a GPU, and of the whole process on a CPU."
    )
    if mfu:
        caption += " MFU is the share of the data sheet's operations that a whole training needed, at best."
    return Table("times", caption, columns, rows) if rows else None


def _stages(facts: Facts) -> dict[str, str]:
    """What a stage is called: by its id, and by its place."""
    names: dict[str, str] = {}
    for t in facts.trainings:
        names.setdefault(str(t.folder.folder.relative_to(facts.run.root)), facts.title(t))
    places = {node.id: node.place for node in (facts.nodes.nodes if facts.nodes else ())}
    return names | {key: names[place] for key, place in places.items() if place in names}


def _stage(names: Mapping[str, str], stage: str) -> str:
    """A stage in words: the training in it by what it is, whatever is done before or after by its name."""
    parts = ["shards"] if stage.startswith("shard/") else stage.split("/")
    for start in range(len(parts)):
        for end in range(len(parts), start, -1):
            name = names.get("/".join(parts[start:end]))
            if name is not None:
                return ", ".join([*parts[:start], name, *parts[end:]])
    return ", ".join(parts)


def settings_table(key: str, caption: str, values: Mapping[str, Any]) -> Table | None:
    """Nested settings, one a line, the first `SETTINGS` of them."""
    pairs = flattened(values) if values else []
    rows = [[Cell(name), Cell(value)] for name, value in pairs[:SETTINGS]]
    if len(pairs) > SETTINGS:
        rows.append([Cell(f"{len(pairs) - SETTINGS:,} more"), Cell("in the file itself")])
    return Table(key, caption, [("Setting", "text"), ("Value", "text")], rows) if rows else None
