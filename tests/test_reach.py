"""What a change of each setting re-keys, in several runs, is what its field says."""

from __future__ import annotations

import contextlib
import functools
import typing
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

import pytest

from doremi.config import RunConfig, validate
from doremi.config.prepared import asked
from doremi.config.reach import Reached
from doremi.config.schema import DomainConfig
from doremi.config.section import Section, reach_of
from doremi.corpus.kept import kept_folder
from doremi.errors import ConfigError, MixtureError
from doremi.rundir.graph import Graph
from doremi.rundir.known import Known
from doremi.rundir.machine import Machine
from graphs import corpus, known, made, values

PLAIN = ["doremi", "natural", "uniform", "temperature", "unimax"]
BASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "a budget": {"budget_tokens": 300_000, "reference": {"mixture": "unimax", "losses": "stored"}},
    "epoch-matched": {"budget_tokens": 50_000, "data": {"epoch_matched": True}},
    "limits": {
        "budget_tokens": 300_000, "reference": {"mixture": "uniform"},  # which is left as it is, and natural is not
        "limits": {"max_weight": 0.5, "min_weight": 0.05, "max_epochs": 9.0,
                   "domains": {"law": {"max_weight": 0.2, "min_weight": 0.1, "max_epochs": 4.0}},
                   "groups": {"some": {"domains": ["code", "law"], "min_weight": 0.5, "max_weight": 0.9}}},
    },
    "stored losses, matched": {
        "budget_tokens": 50_000, "data": {"epoch_matched": True},
        "reference": {"losses": "stored", "mixture": "natural"},
    },
    "another reference": {"reference": {"losses": "stored", "mixture": "temperature"}},
    "a fixed weight": {"limits": {"domains": {"law": {"weight": 0.3}}}},
    "rounds": {"rounds": {"max": 2}, "proxy": {"seeds": 2}},
    "stored losses": {"reference": {"losses": "stored"}},
    "an early stop": {"proxy": {"stop": "auto"}},
    "who may race": {"candidates": {"mixtures": PLAIN, "seeds": 3}},
    "an architecture": {"model": {"preset": None, "architecture": "llama", "options": {"hidden_size": 32}},
                        "reference": {"losses": "stored"}},
    "on a GPU": {"reference": {"losses": "stored"}, "training": {"precision": "bfloat16"}},
    "split": {"training": {"parallel": "fsdp"}},
}  # fmt: skip
MACHINES = {"on a GPU": Machine("cuda", True, 2, 2)}
"""Where a run is, unless on a CPU."""
EVERYWHERE = {
    "candidates": {"mixtures": PLAIN, "equal_compute": True}, "downstream": {"tasks": "tasks"},
}  # fmt: skip
OTHERS: dict[str, list[Any]] = {
    "name": ["other"], "runs": ["elsewhere"], "trackers": [["wandb"]], "profile": ["5:8"],
    "seed": [1], "budget_tokens": [200_000, 60_000],
    "data.corpus": [], "data.domains": [], "data.domains.train": [["x"]], "data.domains.validation": [["y"]],
    "data.domains.text_field": ["body"], "data.domains.sample_tokens": [5000], "data.sample_tokens": [5000],
    "data.domains.tokens": [200_000], "data.domains.bytes": [900_000], "data.domains.documents": [2500],
    "data.tokenized": [{}, {"type": "uint32"}], "data.domains.tokenized": [{}, {"end": 5}],
    "data.tokenized.type": [], "data.tokenized.end": [], "data.tokenized.field": [],
    "data.domains.tokenized.type": [], "data.domains.tokenized.end": [], "data.domains.tokenized.field": [],
    "data.join": ["\n"], "data.where": [{"language": ["en"]}],
    "data.domains.join": ["\n"], "data.domains.where": [{"language": ["en"]}], "data.domains.values": [],
    "data.domains.dataset": [], "data.domains.config": [], "data.domains.split": [], "data.domains.revision": [],
    "data.domain_field": [], "data.train": [], "data.validation": [], "data.others": [],
    "data.tokenizer": ["gpt2"], "data.epoch_matched": [True, False],
    "model.preset": ["0.3m"], "model.architecture": ["gpt2"], "model.options": [{"hidden_size": 64}],
    "training.batch_size": [16], "training.threads": [2, 3], "training.compile": [True, False],
    "training.evaluate_every": [7], "training.checkpoint_every": [9], "training.warmup": [0.2],
    "training.accumulation": [2],
    "training.deterministic": [True, False], "training.shard_size": [2],
    "reference.mixture": ["uniform", "temperature"], "reference.reuse": ["other-run"],
    "proxy.sampling": ["natural"], "proxy.choices": [{"clip": "none"}],
    "candidates.mixtures": [["doremi", "natural"]], "candidates.sizes": [["0.3m"]], "downstream.tasks": ["others"],
    "downstream.limit": [5], "limits.domains": [{"web": {"max_weight": 0.3}}],
    "limits.groups": [{"some": {"domains": ["code", "law"], "min_weight": 0.45, "max_weight": 0.9}}],
    "limits.domains.weight": [0.25], "limits.domains.min_weight": [0.13], "limits.domains.max_weight": [0.11],
    "limits.domains.max_epochs": [3.5], "limits.groups.domains": [["code"]], "limits.max_weight": [0.45],
    "limits.min_weight": [0.3, 0.08], "limits.max_epochs": [6.0], "limits.groups.min_weight": [0.55],
    "limits.groups.max_weight": [0.51, 0.5], "data.on_bad_record": ["skip"], "candidates.max_epochs": [2.0, 3.0],
    "rounds.until": [0.5], "workers": [2, 3], "executor": ["ray"],
    "training.learning_rates": [{"1m": 0.02, "0.1m": 0.02, "custom": 0.02}],
}  # fmt: skip
"""Other values of a setting, where the next number or the next word will not do."""
PLACES = {"data.domains": "web", "limits.domains": "law", "limits.groups": "some"}


def settings() -> Iterator[tuple[str, type[Section], str]]:
    """Every leaf of the schema: its dotted key, its section and its name; keys of named parts without the name."""

    def below(section: type[Section], prefix: str) -> Iterator[tuple[str, type[Section], str]]:
        for name, field in section.model_fields.items():
            key = f"{prefix}.{name}".lstrip(".")
            inner = [part for part in _parts(field.annotation) if issubclass(part, Section)]
            if inner:
                yield from below(inner[0], key)
            if not inner or key in OTHERS:
                yield key, section, name

    return below(RunConfig, "")


def _parts(annotation: Any) -> list[type]:
    found = [annotation] if isinstance(annotation, type) else []
    return found + [part for one in typing.get_args(annotation) for part in _parts(one)]


def other_values(key: str, section: type[Section], name: str, now: Any) -> list[Any]:
    if key in OTHERS:
        return OTHERS[key]
    annotation = section.model_fields[name].annotation
    words = [w for one in (annotation, *typing.get_args(annotation)) if typing.get_origin(one) is Literal
             for w in typing.get_args(one)]  # fmt: skip
    if words:
        return words
    if isinstance(now, bool):
        return [not now]
    if isinstance(now, str):
        return [f"{now}x"]
    return [now + 1] if isinstance(now, int) else [now * 0.9 if now else 0.1]


def at(value: Any, path: list[str]) -> Any:
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    return value


def changed(plain: dict[str, Any], key: str, section: type[Section], name: str) -> Iterator[RunConfig]:
    """The base with each other value of a setting that is valid there."""
    loaded = validate(plain, "test").model_dump(mode="json")
    head = next((place for place in PLACES if key.startswith(f"{place}.")), None)
    path = key.split(".") if head is None else [*head.split("."), PLACES[head], *key[len(head) + 1 :].split(".")]
    for value in other_values(key, section, name, at(loaded, path)):
        if at(loaded, path[:-1]) is None or at(loaded, path) == value:
            continue
        new = validate(loaded, "test").model_dump(mode="json")
        at(new, path[:-1])[path[-1]] = value
        if key == "model.architecture" or (key == "model.options" and new["model"]["architecture"]):
            new["model"]["preset"] = None
        if key == "model.preset" and new["model"]["architecture"]:
            continue
        try:
            yield validate(new, "test")
        except ConfigError:
            continue


def graph_of(config: RunConfig, machine: Machine | None = None) -> Graph:
    """With the share that an epoch-matched run keeps, tasks, and all steps of unfinished trainings assumed."""
    whole = corpus().sized(config.data.given)
    so_far: Known = known(config, assumed=True, tasks="{}", corpus=whole)
    if config.kept_share < 1:
        kept = replace(corpus(), fingerprint=f"kept {kept_folder(whole, config.kept_share)}")
        so_far = replace(so_far, corpus=replace(whole, kept=kept))
    return made(config, so_far if machine is None else replace(so_far, machine=machine))


@functools.cache
def base(name: str) -> tuple[RunConfig, Graph]:
    """One of the runs, and its graph."""
    config = validate(values(**{**EVERYWHERE, **BASES[name]}), "test")
    return config, graph_of(config, MACHINES.get(name))


def rekeyed(name: str, other: RunConfig) -> set[Reached]:
    """The roles of which a node has another key, the corpus, and the verdict where it judges by other rules."""
    (one, first), second = base(name), graph_of(other, MACHINES.get(name))
    found: set[Any] = {
        node.role
        for node in first.nodes
        if node.id in second.by_id and first.key(node) and first.key(node) != second.key(second.node(node.id))
    }
    found |= {"corpus"} if asked(one.data) != asked(other.data) else set()
    return found | ({"verdict"} if one.verdict != other.verdict else set())


@pytest.mark.parametrize(("key", "section", "name"), list(settings()), ids=lambda value: str(value))
def test_what_a_setting_rekeys_is_what_its_field_says(key: str, section: type[Section], name: str) -> None:
    found: set[Reached] = set()
    tried = 0
    for run in BASES:
        for other in changed(values(**{**EVERYWHERE, **BASES[run]}), key, section, name):
            tried += 1
            with contextlib.suppress(MixtureError):  # another value may be one that no mixture keeps
                found |= rekeyed(run, other)
    if not OTHERS.get(key, [1]):
        return  # what is in it is tried by itself, or it needs a disk (tests/test_corpora.py)
    assert tried
    said = set(reach_of(section, name))
    if "corpus" in said:
        assert "corpus" in found  # and with it everything that is made of it
    else:
        assert sorted(found) == sorted(said)


def test_a_domain_that_counts_twice_is_no_other_corpus() -> None:
    assert "corpus" not in reach_of(DomainConfig, "epochs")
