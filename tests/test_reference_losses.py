"""Reference losses kept on disk: the same as live ones, made once, refused when they are not this reference's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from doremi.config import RunConfig
from doremi.corpus.store import tokens
from doremi.distributed import World
from doremi.errors import DamageError, Interrupted
from doremi.executors.choose import chosen
from doremi.files import write_json
from doremi.model.build import TokenLosses, load
from doremi.pipeline.run import search
from doremi.pipeline.workspace import open_workspace
from doremi.rundir.layout import RunDirectory
from doremi.training import reference_losses
from tiny import DOMAINS, Silent, tiny_config, write_corpus
from tolerances import SMALL_BATCH

ALONE = World(0, 1, torch.device("cpu"))
LENGTH = 16


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("text"))


def searched(config: RunConfig, watch: Silent | None = None) -> RunDirectory:
    with open_workspace(config, ALONE, watch or Silent()) as space:
        search(space, chosen)
    return RunDirectory(config.root)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory, text: Path) -> RunDirectory:
    return searched(tiny_config(tmp_path_factory.mktemp("stored"), text, reference={"losses": "stored"}))


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, text: Path) -> RunDirectory:
    return searched(tiny_config(tmp_path_factory.mktemp("live"), text, reference={"losses": "live"}))


def losses_of(run: RunDirectory) -> Path:
    places = sorted((run.root / "losses").glob("*"))
    return places[0] if places else run.root / "losses" / "none"


def test_a_store_holds_the_losses_of_every_sequence(stored: RunDirectory) -> None:
    """Against the saved model, sequence by sequence; float16 keeps eleven bits."""
    module = TokenLosses(load(stored.reference(0).folder / "model"), LENGTH).eval()
    for name in DOMAINS:
        ids = tokens(stored.whole_corpus(), name, "train").astype(np.int64)
        held = np.fromfile(losses_of(stored) / f"{name}.f16", dtype="<f2").reshape(-1, LENGTH)
        assert len(held) == (len(ids) - 1) // LENGTH
        for sequence in (0, 7, len(held) - 1):
            window = torch.from_numpy(ids[sequence * LENGTH : (sequence + 1) * LENGTH + 1])[None]
            with torch.no_grad():
                expected = module(window[:, :-1], window[:, 1:])[0].numpy()
            assert np.abs(held[sequence] - expected).max() <= 2**-11 * expected.max()


def test_stored_and_live_losses_give_the_same_weights(stored: RunDirectory, live: RunDirectory) -> None:
    one, other = (run.proxy(0).trace()["weights"] for run in (stored, live))
    assert np.abs(one - one[0]).max() > 0.1
    assert np.abs(one - other).max() <= SMALL_BATCH
    assert not losses_of(live).exists()


def test_auto_stores_where_the_proxy_sees_the_corpus_more_than_once(
    live: RunDirectory, text: Path, tmp_path: Path
) -> None:
    total = sum(live.corpus().count("train", "tokens"))
    batch = 64
    for steps, expected in ((total // (batch * LENGTH), False), (total // (batch * LENGTH) + 1, True)):
        training = {"steps": steps, "batch_size": batch, "evaluate_every": 10**6}
        config = tiny_config(tmp_path / str(steps), text, training=training)
        assert (config.run_tokens > total) is expected
    assert losses_of(searched(config)).exists()


@pytest.mark.parametrize("key", ["reference", "data", "tokenizer", "sequence_length"])
def test_a_foreign_store_is_refused_by_name(key: str, stored: RunDirectory) -> None:
    path = losses_of(stored) / "manifest.json"
    right = json.loads(path.read_text())
    write_json(path, {**right, key: "another"})
    try:
        with pytest.raises(DamageError, match=rf"losses/\w+: holds the losses of another {key.replace('_', ' ')}"):
            opened(stored)
    finally:
        write_json(path, right)
    opened(stored)


@pytest.mark.parametrize("key", ["reference", "data", "tokenizer", "sequence_length", "files", "code.f16"])
def test_a_store_whose_manifest_lacks_something_is_refused_by_name(key: str, stored: RunDirectory) -> None:
    path = losses_of(stored) / "manifest.json"
    right = path.read_text()
    short = json.loads(right)
    (short["files"] if key.endswith(".f16") else short).pop(key)
    write_json(path, short)
    try:
        with pytest.raises(DamageError, match=rf"manifest.json: this store of reference losses has no '{key}'; remove"):
            opened(stored)
    finally:
        path.write_text(right)


def opened(run: RunDirectory) -> reference_losses.StoredReference:
    key = run.reference(0).stage()["key"]
    return reference_losses.StoredReference(losses_of(run), run.whole_corpus(), LENGTH, key)


@pytest.mark.parametrize("how", ["one bit", "cut", "gone"])
def test_a_damaged_store_is_refused(how: str, stored: RunDirectory) -> None:
    path = losses_of(stored) / "code.f16"
    right = path.read_bytes()
    path.write_bytes({"one bit": bytes([right[0] ^ 1]) + right[1:], "cut": right[:-2], "gone": b""}[how])
    if how == "gone":
        path.unlink()
    try:
        with pytest.raises(DamageError, match=r"code.f16: is missing or not what was written; remove .*losses"):
            opened(stored)
    finally:
        path.write_bytes(right)


def test_an_interrupted_store_goes_on_with_the_next_domain(
    stored: RunDirectory, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(tmp_path, text, reference={"losses": "stored"})
    written: list[str] = []
    write = reference_losses._write_domain

    def two_domains(path: Path, *arguments: Any) -> None:
        if len(written) == 2:
            raise Interrupted("stopped")
        written.append(path.name)
        write(path, *arguments)

    monkeypatch.setattr(reference_losses, "_write_domain", two_domains)
    with pytest.raises(Interrupted):
        searched(config)
    monkeypatch.setattr(
        reference_losses, "_write_domain", lambda path, *a: (written.append(path.name), write(path, *a))
    )
    again = searched(config)
    assert written == ["prose.f16", "code.f16", "digits.f16"]
    for name in DOMAINS:
        file = f"{name}.f16"
        assert (losses_of(again) / file).read_bytes() == (losses_of(stored) / file).read_bytes()
    assert not (losses_of(again) / "unfinished.json").exists()


@pytest.mark.parametrize("proxy", [{"eta": 0.1}, {"smoothing": 0.1}])
def test_another_eta_or_c_reuses_reference_and_store(
    proxy: dict[str, float], stored: RunDirectory, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = {"losses": "stored", "reuse": str(stored.root)}
    config = tiny_config(tmp_path, text, reference=reference, proxy=proxy)
    monkeypatch.setattr(reference_losses, "_write_domain", lambda *_: pytest.fail("the store was made again"))
    monkeypatch.setattr(TokenLosses, "forward", counted := Counted(TokenLosses.forward))
    found = searched(config)
    assert found.reference(0).stage() == stored.reference(0).stage()
    evaluations = 3 * 2  # of the proxy at steps 10 and 20: a batch of windows each
    assert counted.calls <= config.training.steps + evaluations
    weights = [run.mixture_path("doremi").read_bytes() for run in (found, stored)]
    assert weights[0] != weights[1]


class Counted:
    """A method that counts its calls."""

    def __init__(self, method: Any) -> None:
        self.method, self.calls = method, 0

    def __get__(self, instance: Any, _: Any = None) -> Any:
        def call(*arguments: Tensor) -> Tensor:
            self.calls += 1
            return self.method(instance, *arguments)

        return call


def test_a_reference_that_is_not_alike_is_trained(stored: RunDirectory, text: Path, tmp_path: Path) -> None:
    config = tiny_config(tmp_path, text, reference={"reuse": str(stored.root)}, training={"learning_rate": 0.02})
    watch = Silent()
    found = searched(config, watch)
    assert any("no reference that is trained alike; training it" in message for message in watch.messages)
    assert found.reference(0).stage()["key"] != stored.reference(0).stage()["key"]
