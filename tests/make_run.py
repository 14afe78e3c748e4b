"""Writes a small run directory as docs/formats.md describes it, with made-up numbers and no torch.

For tests of whatever reads run directories: verdict, report, export. `effect` is the true relative difference of a
mixture's losses to natural's, `noise` the spread between seeds, so that a test knows the answer it must find.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml

from doremi.corpus.library import place, take
from doremi.corpus.value import Corpus
from doremi.files import FORMAT, file_sha256, key_of, write_bytes, write_json
from doremi.mixture.domains import Mixture, folder_name
from doremi.rundir.metrics import TRACE_COLUMNS
from doremi.rundir.nodes import CandidateRecord, CandidateRole, NodeRecord, Nodes, Role, write_nodes


@dataclass
class MadeRun:
    """What to make; the defaults are three domains, three mixtures, two seeds."""

    domains: Sequence[str] = ("web", "code", "Wikipedia (en)")
    seeds: Sequence[int] = (0, 1)
    size: str = "tiny"
    effect: Mapping[str, float] = field(default_factory=lambda: {"doremi": -0.02, "natural": 0.0, "uniform": 0.01})
    noise: float = 0.001
    steps: int = 40
    batch_size: int = 8
    sequence_length: int = 16
    documents: int = 40  # validation documents a domain
    step_noise: float = 0.0
    found: Mapping[str, str] = field(default_factory=lambda: {"doremi": "doremi"})  # mixture's name -> its method

    def natural(self) -> Mixture:
        return Mixture({name: 3.0 if i == 0 else 1.0 for i, name in enumerate(self.domains)})

    def mixture(self, name: str) -> Mixture:
        if name == "natural":
            return self.natural()
        if name == "uniform":
            return Mixture({d: 1.0 for d in self.domains})
        return Mixture({d: 1.0 + i for i, d in enumerate(self.domains)})

    def base_loss(self, i: int) -> float:
        return 3.0 - 0.5 * i / max(1, len(self.domains) - 1)


def make_run(root: Path, made: MadeRun | None = None) -> Path:
    """Write the run under `root` (created) and return `root`."""
    made = made or MadeRun()
    root.mkdir(parents=True, exist_ok=True)
    corpus = _corpus(root, made)
    config = {
        "name": root.name,
        "seed": 0,
        "reference": {"mixture": "natural"},
        "budget_tokens": 100_000,
        "candidates": {"mixtures": list(made.effect), "sizes": [made.size], "seeds": len(made.seeds)},
        "verdict": {"margin": 0.005, "confidence": 0.95, "target": "uniform"},
    }
    write_bytes(root / "config.yaml", yaml.safe_dump(config, sort_keys=False).encode())
    write_json(
        root / "manifest.json",
        {
            "format": FORMAT,
            "config_key": key_of(config),
            "fingerprint": corpus["fingerprint"],
            "versions": {"doremi": "0.1.0", "python": "3.11.7", "torch": "2.13.0"},
            "commit": None,
            "seed": 0,
            "resolved": {"precision": "float32", "compile": False, "threads": 2},
        },
    )
    for name in [*made.effect, "doremi"]:
        _mixture_file(root, made, corpus, name)
    for seed in made.seeds:
        _training(root / "reference" / f"seed-{seed}", made, "natural", seed, None)
        _training(root / "proxy" / f"seed-{seed}", made, "uniform", seed, made.mixture("doremi"))
        for name in made.effect:
            folder = root / "main" / made.size / name / f"seed-{seed}"
            if name == "natural":
                write_json(folder / "same-as.json", {"format": FORMAT, "folder": f"reference/seed-{seed}"})
            else:
                _training(folder, made, name, seed, None)
    write_nodes(root, nodes_of(root, made))
    return root


ROLES: dict[str, CandidateRole] = {"doremi-per-seed": "per-seed"}


def nodes_of(root: Path, made: MadeRun) -> Nodes:
    """What a made run consists of; natural's models are the references."""
    nodes = [
        NodeRecord(id=name, kind="mixture", role="mixture", key=None, place=_place(name), method=method, mixture=name)
        for name, method in made.found.items()
    ]
    for seed in made.seeds:
        for role in ("reference", "proxy"):
            nodes.append(_node(root, role, f"{role}/seed-{seed}", method="doremi", seed=seed))
        for name in made.effect:
            place = f"main/{made.size}/{name}/seed-{seed}" if name != "natural" else f"reference/seed-{seed}"
            nodes.append(_node(root, "main", place, mixture=name, size=made.size, seed=seed))
    candidates = [
        CandidateRecord(
            name=name,
            role="found" if name in made.found else ROLES.get(name, "plain"),
            method=made.found.get(name, "doremi" if name in ROLES else ""),
            mixtures=dict.fromkeys(made.seeds, _place(name)),
        )
        for name in made.effect
    ]
    return Nodes(nodes=tuple(nodes), candidates=tuple(candidates), reference_mixture="natural")


def _node(root: Path, role: Role, place: str, **rest: str | int) -> NodeRecord:
    key = json.loads((root / place / "stage.json").read_text())["key"]
    whole = {"id": f"{role}/{place}", "kind": "training", "role": role, "key": key, "place": place, **rest}
    return NodeRecord.model_validate(whole)


NOTHING_LEFT_OUT = {"empty": 0, "excluded": 0, "duplicates": {"within": 0, "across": 0, "dropped": 0}, "bad": {}}


def _corpus(root: Path, made: MadeRun) -> dict:
    """The corpus beside the run, and what the run keeps of it; the manifest."""
    key = key_of([list(made.domains), made.documents])
    corpus = place(root.parent, key)
    if not corpus.exists():
        _write_corpus(corpus, made, key)
    take(Corpus.read(corpus), root / "corpus", "as made", full_check=False)
    return json.loads((corpus / "manifest.json").read_text())


def _write_corpus(folder: Path, made: MadeRun, key: str) -> None:
    rng = np.random.default_rng(0)
    domains = {}
    for i, name in enumerate(made.domains):
        own = folder / folder_name(name)
        own.mkdir(parents=True)
        entry = {"folder": own.name}
        for split, documents in (("train", 200 * (3 if i == 0 else 1)), ("validation", made.documents)):
            lengths = rng.integers(5, 60, documents)
            tokens = rng.integers(1, 200, int(lengths.sum())).astype("<u2")
            ends = np.cumsum(lengths).astype("<u8")
            tokens[ends.astype(np.int64) - 1] = 0
            tokens.tofile(own / f"{split}.bin")
            ends.tofile(own / f"{split}.ends")
            size = (lengths - 1) * 4
            names = [f"{split}.bin", f"{split}.ends"]
            if split == "validation":
                np.stack([size, np.arange(documents) % 2], axis=1).astype("<u4").tofile(own / "validation.documents")
                names.append("validation.documents")
            entry[split] = {
                "documents": documents,
                "bytes": int(size.sum()),
                "tokens": int(lengths.sum()),
                "unknown": 0,
                "skipped": 0,
                "files": {f"{own.name}/{n}": file_sha256(own / n) for n in names},
            }
        entry["tokens"] = entry["train"]["tokens"]
        entry["found"] = NOTHING_LEFT_OUT
        domains[name] = entry
    manifest = {
        "format": FORMAT,
        "tokenizer": {
            "source": "trained",
            "sha256": "ab" * 32,
            "vocab_size": 200,
            "end_of_text": "<|endoftext|>",
            "end_of_text_id": 0,
        },
        "dtype": "uint16",
        "domains": domains,
        "fingerprint": key_of(domains),
        "key": key,
    }
    write_json(folder / "tokenizer" / "tokenizer.json", {})
    write_json(folder / "sources.json", {"format": FORMAT, "domains": {}})
    write_json(folder / "manifest.json", manifest)


def _mixture_file(root: Path, made: MadeRun, corpus: dict, name: str) -> None:
    mixture = made.mixture(name)
    domains = {
        d: {
            "tokens": e["train"]["tokens"],
            "documents": e["train"]["documents"],
            "bytes": e["train"]["bytes"],
            "tokens_per_document": e["train"]["tokens"] / e["train"]["documents"],
            "epochs": mixture[d] * 100_000 / e["train"]["tokens"],
        }
        for d, e in corpus["domains"].items()
    }
    value = {
        "format": FORMAT,
        "unit": "tokens",
        "weights": dict(mixture.weights),
        "method": made.found.get(name, name),
        "source": f"{len(made.seeds)} proxies of run {root.name}" if name == "doremi" else "token counts",
        "options": {"eta": 1.0, "smoothing": 0.001} if name == "doremi" else {},
        "seeds": list(made.seeds),
        "tokenizer": {"sha256": "ab" * 32, "vocab_size": 200},
        "budget_tokens": 100_000,
        "domains": domains,
    }
    if name == "doremi":
        value["per_seed"] = {str(s): dict(mixture.weights) for s in made.seeds}
    write_json(root / _place(name), value)


def _place(name: str) -> str:
    return "mixture.json" if name == "doremi" else f"mixtures/{name}.json"


def _training(folder: Path, made: MadeRun, mixture_name: str, seed: int, weights: Mixture | None) -> None:
    folder.mkdir(parents=True)
    k, rng = len(made.domains), np.random.default_rng([seed, zlib.crc32(mixture_name.encode())])
    scale = 1.0 + made.effect.get(mixture_name, 0.0) + made.noise * rng.standard_normal()
    final = np.array([made.base_loss(i) * scale for i in range(k)])
    alpha = None if weights is None else np.array([weights[d] for d in made.domains])
    per_step = made.batch_size * made.sequence_length
    mixture = made.mixture(mixture_name)
    share = np.array([mixture[d] for d in made.domains])
    header = {
        "kind": "header",
        "trace": list(TRACE_COLUMNS[:4]),
        "format": FORMAT,
        "domains": list(made.domains),
        "objective": "plain" if weights is None else "doremi",
    }
    lines, rows = [header], []
    for step in range(1, made.steps + 1):
        loss = final * (1 + 2 * math.exp(-4 * step / made.steps) - 2 * math.exp(-4.0))
        loss = loss + made.step_noise * rng.standard_normal(k)
        if alpha is None:
            now, scores = np.full(k, np.nan), np.full(k, np.nan)
        else:
            mix = 1 - math.exp(-3 * step / made.steps)
            now, scores = (1 - mix) / k + mix * alpha, np.full(k, 0.1) + 0.01 * np.arange(k)
        rows.append(np.concatenate([[step, 1e-3, 1.0], loss, share * per_step, now, scores]))
        if step % 5 == 0:
            lines.append(_train_record(step, per_step, loss, share, None if alpha is None else (now, scores)))
        if step % 10 == 0 or step == made.steps:
            bpb = list(loss / math.log(2) / 3)
            values = {"loss": list(loss), "bits_per_byte": bpb}
            lines.append(
                {"kind": "evaluation", "step": step, "tokens": step * per_step, "select": values, "report": values}
            )
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    np.stack(rows).astype("<f4").tofile(folder / "trace.f32")
    _evaluation(folder, made, loss, rng)
    if weights is not None:
        write_json(folder / "mixture.json", {"format": FORMAT, "unit": "tokens", "weights": dict(weights.weights)})
    write_json(
        folder / "stage.json",
        {
            "format": FORMAT,
            "key": key_of([mixture_name, seed]),
            "steps": made.steps,
            "tokens": made.steps * per_step,
            "batch_size": made.batch_size,
            "sequence_length": made.sequence_length,
            "parameters": 12345,
            "mixture": dict(mixture.weights),
            "consumed_tokens": [int(x) for x in share * per_step * made.steps],
            "epoch_tokens": _train_tokens(folder, made),
        },
    )


def _train_record(step: int, per_step: int, loss: np.ndarray, share: np.ndarray, dro: tuple | None) -> dict:
    weights, scores = (list(dro[0]), list(dro[1])) if dro else (None, None)
    return {
        "kind": "train",
        "step": step,
        "tokens": step * per_step,
        "loss": float(share @ loss),
        "learning_rate": 1e-3,
        "gradient_norm": 1.0,
        "domain_loss": list(loss),
        "domain_tokens": [int(x) for x in share * per_step * 5],
        "weights": weights,
        "average_weights": weights,
        "scores": scores,
    }


def _evaluation(folder: Path, made: MadeRun, loss: np.ndarray, rng: np.random.Generator) -> None:
    nats, totals = [], {s: {"documents": [], "tokens": [], "bytes": [], "nats": []} for s in ("select", "report")}
    corpus = folder
    while not (corpus / "corpus").exists():
        corpus = corpus.parent
    for i, name in enumerate(made.domains):
        place = corpus / "corpus" / folder_name(name)
        tokens = np.diff(np.fromfile(place / "validation.ends", "<u8").astype(np.int64), prepend=0)
        records = np.fromfile(place / "validation.documents", "<u4").reshape(-1, 2)
        # the same documents are hard for every model: paired differences are much less noisy than the losses
        hard = np.random.default_rng(i).normal(1.0, 0.2, len(tokens))
        hard = hard * tokens.sum() / (hard * tokens).sum()
        own = tokens * loss[i] * hard * (1 + 0.002 * rng.standard_normal(len(tokens)))
        nats.append(own)
        for s, split in enumerate(("select", "report")):
            chosen = records[:, 1] == s
            for key, value in (
                ("documents", chosen.sum()),
                ("tokens", tokens[chosen].sum()),
                ("bytes", records[chosen, 0].sum()),
                ("nats", own[chosen].sum()),
            ):
                totals[split][key].append(float(value) if key == "nats" else int(value))
    np.concatenate(nats).astype("<f8").tofile(folder / "evaluation.documents.f64")
    value = {"format": FORMAT, "step": made.steps, "domains": list(made.domains)}
    for split, t in totals.items():
        losses = [n / x for n, x in zip(t["nats"], t["tokens"], strict=True)]
        bpb = [n / b / math.log(2) for n, b in zip(t["nats"], t["bytes"], strict=True)]
        value[split] = {
            "documents": t["documents"],
            "tokens": t["tokens"],
            "bytes": t["bytes"],
            "loss": losses,
            "perplexity": [math.exp(x) for x in losses],
            "bits_per_byte": bpb,
            "mean_loss": sum(losses) / len(losses),
            "mean_bits_per_byte": sum(bpb) / len(bpb),
            "worst_loss": max(losses),
            "worst_domain": made.domains[int(np.argmax(losses))],
        }
    write_json(folder / "evaluation.json", value)


def _train_tokens(folder: Path, made: MadeRun) -> list[int]:
    """Of each domain, from the corpus of the run that a training folder is in."""
    manifest = next(p / "corpus/manifest.json" for p in folder.parents if (p / "corpus/manifest.json").exists())
    entries = json.loads(manifest.read_text())["domains"]
    return [entries[name]["train"]["tokens"] for name in made.domains]
