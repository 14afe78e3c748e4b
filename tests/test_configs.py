"""Every file in configs/ loads, says what it would do, and makes two steps on stand-in data of the same layout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml

from doremi.cli.status import describe
from doremi.config import load
from doremi.distributed import World
from doremi.executors.choose import chosen
from doremi.mixture.files import read_mixture
from doremi.pipeline.run import search
from doremi.pipeline.workspace import open_workspace
from doremi.rundir.layout import RunDirectory
from tiny import Silent, write_corpus

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
FILES = sorted(CONFIGS.glob("*.yaml"))


def stand_in(path: Path, root: Path) -> list[str]:
    """Files where the configuration expects them, below `root`, and the overrides that make the job small."""
    texts = sorted(write_corpus(root / "texts", documents=20).glob("*/text.jsonl"))
    config = load(path)
    domains = {}
    for number, (name, source) in enumerate(config.data.domains.items()):
        entry = {"train": [], "validation": [], "epochs": source.epochs}
        for split in ("train", "validation"):
            for pattern in getattr(source, split):
                file = root / "data" / str(number) / (Path(pattern).name.rstrip("*") + "-00.jsonl")
                file.parent.mkdir(parents=True, exist_ok=True)
                lines = texts[number % len(texts)].read_text().splitlines()
                part = lines[:5] if split == "validation" else lines[5:]
                # every domain has texts of its own: the same text in two splits would be left out
                file.write_text("\n".join(json.dumps({"text": f"{number} {json.loads(x)['text']}"}) for x in part))
                entry[split].append(str(file.parent / Path(pattern).name) if "*" in pattern else str(file))
        domains[name] = entry
    small = {"n_layer": 1, "n_embd": 16, "n_head": 2, "n_inner": 32}
    if not config.model.preset or not config.model.preset.startswith(("280", "1b")):
        small = {"num_hidden_layers": 1, "hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2,
                 "num_key_value_heads": 2}  # fmt: skip
    changes = {
        "runs": str(root / "runs"),
        "data.domains": domains,
        "data.vocab_size": 300,
        "data.sequence_length": 16,
        "data.tokenizer_sample_bytes": 20000,
        "data.workers": 1,
        "model.options": small,
        "training.steps": 2,
        "training.batch_size": 24,
        "training.precision": "float32",
        "training.compile": False,
        "training.threads": 1,
        "candidates.mixtures": ["natural"],
        "proxy.seeds": 1,
    }
    return [f"{key}={yaml.safe_dump(value, default_flow_style=True, width=10**6).strip()}".removesuffix("\n...")
            for key, value in changes.items()]  # fmt: skip


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_loads_says_and_makes_two_steps(path: Path, tmp_path: Path) -> None:
    config = load(path, stand_in(path, tmp_path))
    text = describe(config)
    assert f"{len(config.domains)} domains" in text
    with open_workspace(config, World(0, 1, torch.device("cpu")), Silent()) as space:
        search(space, chosen)
    run = RunDirectory(config.root)
    assert set(read_mixture(run.mixture_path("doremi")).weights) == set(config.data.domains)
    (proxy, *_) = run.nodes().find("proxy")
    assert run.training(proxy).stage()["steps"] == 2


def test_paper_configs_have_the_papers_values() -> None:
    pile, glam = load(CONFIGS / "paper-pile-280m.yaml"), load(CONFIGS / "paper-glam.yaml")
    for config, domains, steps in ((pile, 22, 200_000), (glam, 6, 300_000)):
        assert len(config.domains) == domains
        training = config.training
        assert (training.steps, training.batch_size, config.data.sequence_length) == (steps, 512, 1024)
        assert (training.learning_rate, training.final_learning_rate, training.warmup) == (1e-3, 0.1, 0.06)
        assert (training.schedule, training.initial_spread) == ("exponential", 1.0)
        assert (training.optimizer, training.weight_decay, training.gradient_clip) == ("adafactor", 0.01, 1.0)
        assert (config.proxy.eta, config.proxy.smoothing, config.proxy.sampling) == (1.0, 1e-3, "uniform")
        assert config.data.vocab_size == 256_000
    assert glam.reference.mixture == "uniform"
    epochs = {name: source.epochs for name, source in pile.data.domains.items()}
    assert (epochs["Wikipedia (en)"], epochs["Gutenberg (PG-19)"], epochs["Pile-CC"], epochs["ArXiv"]) == (3, 2.5, 1, 2)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("paper-*.yaml")), ids=lambda p: p.stem)
def test_paper_configs_give_a_source_for_each_value(path: Path) -> None:
    """After a value comes a section, or "not stated; our choice because ...", or what it is a matter of."""
    bare = []
    for line in path.read_text().splitlines():
        key, colon, rest = line.strip().partition(":")
        value, _, comment = rest.partition("#")
        if colon and value.strip() and not line.startswith(("#", "name", "    ")) and key != "variant" and not comment:
            bare.append(line)
    assert bare == []
