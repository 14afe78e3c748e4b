"""Epoch-matched runs: each domain is cut to the run's share of the budget, and repeats as it will at full scale."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from doremi.config import RunConfig
from doremi.corpus import kept as kept_module
from doremi.corpus.kept import check_batches, keep, kept_folder, select
from doremi.corpus.loader import windows
from doremi.corpus.store import DomainWriter, tokens
from doremi.corpus.value import Corpus
from doremi.distributed import World
from doremi.errors import ConfigError, DamageError, DataError, Interrupted
from doremi.executors.choose import chosen
from doremi.files import FORMAT, write_json
from doremi.mixture.plain import epochs, uniform
from doremi.pipeline.counting import count_models
from doremi.pipeline.driver import settle
from doremi.pipeline.host import this_host
from doremi.pipeline.planning import as_it_is, planned
from doremi.pipeline.preparing import prepare
from doremi.pipeline.run import everything
from doremi.pipeline.workspace import Workspace, open_workspace
from doremi.rundir.layout import RunDirectory
from make_run import NOTHING_LEFT_OUT
from tiny import DOMAINS, Silent, tiny_config, write_corpus
from tolerances import FLOAT64

ALONE = World(0, 1, torch.device("cpu"))
RUN_TOKENS = 20 * 8 * 16  # of a tiny run
SIZES = {"web": 90, "code": 40}  # documents

documents = st.lists(st.binary(min_size=1, max_size=12), min_size=1, max_size=30)


def lengths(held: Sequence[bytes]) -> list[tuple[bytes, int]]:
    return [(data, len(data)) for data in held]


def by_hand(held: Sequence[bytes], target: Fraction) -> list[int]:
    """All prefixes of the documents in order of their hash; the shortest of those that come nearest."""
    order = sorted(range(len(held)), key=lambda place: (hashlib.sha256(held[place]).digest(), place))
    prefixes = [order[: n + 1] for n in range(len(order))]
    return sorted(min(prefixes, key=lambda prefix: abs(sum(len(held[place]) for place in prefix) - target)))


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return write_token_files(tmp_path / "corpus", seed=0)


def write_token_files(folder: Path, seed: int) -> Corpus:
    """Two domains of documents of random tokens, 1 to 60 long with their end-of-text."""
    rng = np.random.default_rng(seed)
    entries: dict[str, Any] = {}
    for name, count in SIZES.items():
        with DomainWriter(folder / name, "uint16") as writer:
            for length in rng.integers(0, 60, count):
                writer.train.add(np.append(rng.integers(1, 500, length), 0).astype("<u2").tobytes(), int(length))
            writer.validation.add(np.array([7, 0], "<u2").tobytes(), text_bytes=5)
            entries[name] = {"folder": name, **writer.finish()}
            entries[name] |= {"tokens": entries[name]["train"]["tokens"], "found": NOTHING_LEFT_OUT}
    tokenizer = {"source": "trained", "sha256": "x", "vocab_size": 500, "end_of_text": "e", "end_of_text_id": 0}
    manifest = {"format": FORMAT, "tokenizer": tokenizer, "dtype": "uint16", "domains": entries}
    write_json(folder / "manifest.json", {**manifest, "fingerprint": f"{seed}"})
    return Corpus.read(folder)


def split(corpus: Corpus, name: str) -> list[bytes]:
    """Its training documents as token bytes."""
    ends = np.fromfile(corpus.path(name, "train.ends"), "<u8").astype(int)
    return [part.tobytes() for part in np.split(tokens(corpus, name, "train"), ends[:-1])]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# -- which documents -------------------------------------------------------------------------------------------------


@given(documents, st.fractions(0, 1))
def test_the_first_by_hash_that_come_nearest_to_the_share(held: list[bytes], share: Fraction) -> None:
    target = share * sum(map(len, held))
    assert select(lengths(held), target) == by_hand(held, target)


@given(documents, st.fractions(0, 1), st.fractions(0, 1))
def test_a_smaller_share_is_part_of_a_larger_one(held: list[bytes], one: Fraction, other: Fraction) -> None:
    small, large = (set(select(lengths(held), share * sum(map(len, held)))) for share in sorted((one, other)))
    assert small <= large


def test_documents_of_equal_length_are_counted() -> None:
    """Where all are as long, the share of the tokens is that of the documents, to the nearest."""
    held = [bytes([place]) * 4 for place in range(100)]
    for share in (Fraction(1, 3), Fraction(1, 7), Fraction(1, 50), Fraction(1)):
        assert abs(len(select(lengths(held), share * 400)) - share * 100) <= Fraction(1, 2)


def test_only_what_may_be_kept_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of ten thousand documents of one token a hundredth is kept: the heap never holds more than that."""
    most, push = 0, kept_module.heappush

    def watched(heap: list[Any], item: Any) -> None:
        nonlocal most
        push(heap, item)
        most = max(most, len(heap))

    monkeypatch.setattr(kept_module, "heappush", watched)
    assert len(select(((place.to_bytes(4, "big"), 1) for place in range(10_000)), Fraction(100))) == 100
    assert most <= 101


# -- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [Fraction(1, 3), Fraction(2, 11), Fraction(1, 40)])
def test_kept_documents_lie_in_the_order_of_the_corpus(corpus: Corpus, share: Fraction) -> None:
    kept = keep(corpus, share, full_check=True)
    assert kept.folder == corpus.folder / "kept" / f"{share.numerator}-of-{share.denominator}"
    assert list(kept.domains) == list(SIZES)
    for name in SIZES:
        whole, part = split(corpus, name), split(kept, name)
        target = share * sum(map(len, whole))
        assert part == [whole[place] for place in by_hand(whole, target)]
        entry = kept.entries[name].train
        assert (entry.documents, entry.tokens) == (len(part), sum(map(len, part)) // 2)
        assert set(entry.files) == {f"{name}/train.bin", f"{name}/train.ends"}
    assert kept.share == str(share)
    assert {p.name for p in kept.folder.rglob("*")} == {"manifest.json", *SIZES, "train.bin", "train.ends"}


def test_epochs_are_those_of_the_final_run_to_half_a_document(corpus: Corpus) -> None:
    run, budget = 700, 5000
    kept = keep(corpus, Fraction(run, budget), full_check=True)
    full, matched = (dict(zip(SIZES, c.count("train", "tokens"), strict=True)) for c in (corpus, kept))
    at_full_scale = epochs(uniform(SIZES), full, budget)
    in_training = epochs(uniform(SIZES), matched, run)
    for name in SIZES:
        longest = max(map(len, split(corpus, name))) // 2
        assert abs(matched[name] - Fraction(run, budget) * full[name]) <= longest / 2
        assert in_training[name] == pytest.approx(at_full_scale[name], rel=longest / 2 / matched[name])


def test_made_once_and_again_for_another_corpus(corpus: Corpus) -> None:
    share = Fraction(1, 5)
    fingerprint = keep(corpus, share, full_check=True).fingerprint
    before = {path: path.stat().st_mtime_ns for path in kept_folder(corpus, share).rglob("*.bin")}
    assert keep(corpus, share, full_check=True).fingerprint == fingerprint
    assert {path: path.stat().st_mtime_ns for path in before} == before
    other = write_token_files(corpus.folder, seed=1)
    again = keep(other, share, full_check=True)
    assert again.fingerprint != fingerprint
    assert set(split(again, "web")) <= set(split(other, "web"))
    assert keep(corpus, Fraction(1, 6), full_check=True).fingerprint != fingerprint


@pytest.mark.parametrize("file", ["web/train.bin", "code/train.ends"])
def test_a_cut_or_changed_file_is_named(corpus: Corpus, file: str) -> None:
    share = Fraction(1, 2)
    path = keep(corpus, share, full_check=True).folder / file
    data = path.read_bytes()
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    keep(corpus, share, full_check=False)
    with pytest.raises(DamageError, match=rf"kept/1-of-2/{file}: its checksum.*remove \S*kept/1-of-2 and"):
        keep(corpus, share, full_check=True)
    path.write_bytes(data[:-2])
    with pytest.raises(DamageError, match=rf"kept/1-of-2/{file}: has .* bytes instead of"):
        keep(corpus, share, full_check=False)
    path.unlink()
    with pytest.raises(DamageError, match=rf"kept/1-of-2/{file}: cannot be read"):
        keep(corpus, share, full_check=False)


@pytest.mark.parametrize(("file", "size"), [("train.bin", -2), ("train.ends", -8)])
def test_a_cut_corpus_is_named(corpus: Corpus, file: str, size: int) -> None:
    path = corpus.path("code", file)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(DamageError, match=r"code/train.(bin: ends before token|ends: has no whole document 40;)"):
        keep(corpus, Fraction(1, 2), full_check=True)
    assert not list(corpus.folder.rglob(".*.tmp"))


@pytest.mark.parametrize("stop_after", [1, 95, 120, 150])
def test_stopped_anywhere_and_run_again(corpus: Corpus, tmp_path: Path, stop_after: int) -> None:
    share, left = Fraction(1, 3), stop_after
    straight = files(keep(write_token_files(tmp_path / "other", seed=0), share, full_check=True).folder)

    def stop() -> bool:
        nonlocal left
        left -= 1
        return left < 0

    with pytest.raises(Interrupted, match="domain '"):
        keep(corpus, share, full_check=True, stop=stop)
    first = kept_folder(corpus, share) / "web" / "train.bin"
    written = first.stat().st_mtime_ns if (first.parent / "domain.json").exists() else None
    assert (written is not None) == (stop_after >= 120)  # 90 documents are hashed, fewer than 30 copied
    assert files(keep(corpus, share, full_check=True).folder) == straight
    assert written in (None, first.stat().st_mtime_ns)


@pytest.mark.parametrize("killed_at", ["code/domain.json", "manifest.json"])
def test_killed_between_two_files(
    corpus: Corpus, tmp_path: Path, killed_at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    share = Fraction(1, 3)
    straight = files(keep(write_token_files(tmp_path / "other", seed=0), share, full_check=True).folder)

    def killed(path: Path, value: Any) -> None:
        if path == kept_folder(corpus, share) / killed_at:
            raise KeyboardInterrupt
        write_json(path, value)

    with monkeypatch.context() as patch:
        patch.setattr(kept_module, "write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            keep(corpus, share, full_check=True)
    (kept_folder(corpus, share) / "web" / "train.bin").write_bytes(b"xx")  # finished, but cut: it is made again
    assert files(keep(corpus, share, full_check=True).folder) == straight


def test_domains_under_one_batch_are_refused_by_name(corpus: Corpus) -> None:
    kept = keep(corpus, Fraction(1, 10), full_check=True)
    web, code = kept.count("train", "tokens")
    batch = windows(code, 8) + 1
    assert batch <= windows(web, 8)
    check_batches(corpus, kept, batch - 1, 8)
    count = len(split(kept, "code"))
    with pytest.raises(
        DataError, match=rf"keeps 1/10 .*'code' \(of 40 documents {count} are kept: {code:,} tok"
    ) as error:
        check_batches(corpus, kept, batch, 8)
    assert "'web'" not in str(error.value)
    assert "budget_tokens" in str(error.value)
    assert "\n" not in str(error.value)


# -- a run -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("text"))


def matched(folder: Path, text: Path, budget: int, **changes: Any) -> RunConfig:
    return tiny_config(folder, text, data={"epoch_matched": True}, budget_tokens=budget, **changes)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, text: Path) -> RunDirectory:
    """A run of a twentieth of its budget, with verdict and report."""
    changes = {"candidates": {"mixtures": ["doremi", "natural"]}}
    config = matched(tmp_path_factory.mktemp("matched"), text, 20 * RUN_TOKENS, **changes)
    with open_workspace(config, ALONE, Silent()) as space:
        everything(space, chosen)
    return RunDirectory(config.root)


def test_candidates_repeat_as_the_final_run_will(finished: RunDirectory) -> None:
    corpus = finished.whole_corpus()
    full = np.array(corpus.count("train", "tokens"))
    verdict = json.loads((finished.root / "verdict.json").read_text())
    longest = np.array([max(map(len, split(corpus, name))) // 2 for name in DOMAINS])
    for candidate in verdict["candidates"]:
        stage = finished.main("custom", candidate["name"], 0).stage()
        consumed = np.array(stage["consumed_tokens"])
        assert candidate["epochs"] == pytest.approx((consumed / stage["epoch_tokens"]).tolist(), rel=FLOAT64)
        assert (abs(np.array(stage["epoch_tokens"]) - full / 20) <= longest / 2).all()
        at_full_scale = consumed / RUN_TOKENS * 20 * RUN_TOKENS / full
        assert (abs(np.array(candidate["epochs"]) / at_full_scale - 1) <= longest / 2 / stage["epoch_tokens"]).all()


def test_mixtures_and_their_epochs_are_of_the_whole_corpus(finished: RunDirectory) -> None:
    corpus, natural = finished.whole_corpus(), json.loads(finished.mixture_path("natural").read_text())
    train = corpus.count("train", "tokens")
    whole = [n + held for n, held in zip(train, corpus.count("validation", "tokens"), strict=True)]
    weights = [n / sum(whole) for n in whole]
    assert list(natural["weights"].values()) == pytest.approx(weights, rel=FLOAT64)
    assert [entry["tokens"] for entry in natural["domains"].values()] == train
    code = list(natural["domains"]).index("code")
    passes = weights[code] * 20 * RUN_TOKENS / train[code]
    assert natural["domains"]["code"]["epochs"] == pytest.approx(passes, rel=FLOAT64)


def test_reference_losses_are_stored_where_the_kept_text_is_seen_more_than_once(finished: RunDirectory) -> None:
    kept = Corpus.read(kept_folder(finished.whole_corpus(), Fraction(1, 20)))
    assert sum(kept.count("train", "tokens")) < RUN_TOKENS < sum(finished.whole_corpus().count("train", "tokens"))
    (losses,) = (finished.root / "losses").iterdir()
    for name, count in zip(DOMAINS, kept.count("train", "tokens"), strict=True):
        assert (losses / f"{name}.f16").stat().st_size == windows(count, 16) * 16 * 2
    assert json.loads((losses / "manifest.json").read_text())["data"] == kept.fingerprint


def test_the_page_says_so(finished: RunDirectory) -> None:
    page = " ".join((finished.root / "report.html").read_text().split())  # which takes no-break spaces too
    assert "epoch-matched, trained on 5.00 % of each domain" in page
    assert "Their epochs in training are those of the final run" in page


def test_a_finished_run_stays_finished_and_another_budget_is_another(finished: RunDirectory, text: Path) -> None:
    folder = finished.root.parents[1]
    same, other = (as_it_is(matched(folder, text, budget), finished) for budget in (20 * RUN_TOKENS, 40 * RUN_TOKENS))
    assert all(same.done(same.node(f"doremi/{name}")) for name in ("reference/seed-0", "proxy/seed-0", "mixture"))
    assert not any(other.done(node) for node in other.nodes if node.kind == "training")


def prepared(config: RunConfig) -> tuple[Workspace, Corpus]:
    with open_workspace(config, ALONE, Silent()) as space:
        corpus = prepare(space)
        settle(space, corpus, this_host())
        return space, corpus


def test_keys_depend_on_the_share_and_on_nothing_without_it(tmp_path: Path, text: Path) -> None:
    space, plain = prepared(tiny_config(tmp_path / "plain", text))
    _, whole = prepared(matched(tmp_path / "whole", text, RUN_TOKENS))
    _, half = prepared(matched(tmp_path / "half", text, 2 * RUN_TOKENS))
    assert plain.training is plain
    assert whole.kept is None
    keys = [reference_key(space, corpus) for corpus in (plain, whole, half)]
    assert keys[0] == keys[1]
    assert keys[2] != keys[0]
    assert keys[0] == reference_key(space, replace(half, kept=None))


def reference_key(space: Workspace, corpus: Corpus) -> str | None:
    count_models(space, corpus)
    plan = planned(space.config, space.directory, corpus)
    return plan.key(plan.node("doremi/reference/seed-0"))


def test_a_run_that_is_older_than_the_key_goes_on(tmp_path: Path, text: Path) -> None:
    config = tiny_config(tmp_path, text)
    with open_workspace(config, ALONE, Silent()):
        pass
    recorded = yaml.safe_load((config.root / "config.yaml").read_text())
    del recorded["data"]["epoch_matched"]
    (config.root / "config.yaml").write_text(yaml.safe_dump(recorded))
    with open_workspace(config, ALONE, Silent()):
        pass
    assert yaml.safe_load((config.root / "config.yaml").read_text())["data"]["epoch_matched"] is False


def test_a_refused_run_may_change_its_budget(tmp_path: Path, text: Path) -> None:
    with (
        open_workspace(matched(tmp_path, text, 1000 * RUN_TOKENS), ALONE, Silent()) as space,
        pytest.raises(DataError, match=r"keeps 1/1000 .*under one batch \(8 sequences of 16 tokens\) of 'code'"),
    ):
        prepare(space)
    assert prepared(matched(tmp_path, text, 3 * RUN_TOKENS))[1].training.share == "1/3"


def test_configuration(tmp_path: Path, text: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.epoch_matched needs budget_tokens"):
        tiny_config(tmp_path, text, data={"epoch_matched": True})
    assert matched(tmp_path, text, 3 * RUN_TOKENS).kept_share == Fraction(1, 3)
    assert matched(tmp_path, text, RUN_TOKENS - 1).kept_share == 1
    assert tiny_config(tmp_path, text, budget_tokens=3 * RUN_TOKENS).kept_share == 1
    assert ceil(matched(tmp_path, text, RUN_TOKENS + 1).kept_share) == 1
