"""What every objective, every exporter and every reader must hold: each is found by listing, so a new one is tried too.

What one of them alone promises is tested beside it: test_dro.py, test_dro_variants.py, test_export.py, test_readers.py.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import shutil
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import get_type_hints

import pytest
import safetensors.torch
import torch

import doremi.objectives
from doremi.corpus.formats import PACKINGS
from doremi.corpus.readers import read_documents
from doremi.errors import DataError, ExportError, MixtureError
from doremi.export import TARGETS, export, files_of
from doremi.export.blend import Blend
from doremi.export.files import write_all
from doremi.export.read import read_blend
from doremi.export.target import with_entries
from doremi.objectives.dro import GroupDRO
from doremi.objectives.objective import Objective, Scoring
from doremi.objectives.variants import Choices
from doremi.rundir.layout import RunDirectory
from doremi.rundir.metrics import TRACE_COLUMNS
from every import CASES, ENDS, OBJECTIVES, PACKERS, K, batch, counts, feed, proxies, seen, write_documents
from make_run import MadeRun, make_run
from read_exports import (
    AWKWARD,
    LINKING,
    READERS,
    domain_in,
    edit_manifest,
    number_in,
    order_in,
    weights_file,
)
from tolerances import FLOAT64

# -- objectives ------------------------------------------------------------------------------------------------------

every_objective = pytest.mark.parametrize("make", OBJECTIVES.values(), ids=OBJECTIVES)
OF_LOOP = {"loss", "tokens", "score_error", "reference_loss"}
"""Columns of the trace that the loop fills."""


def test_every_objective_is_listed() -> None:
    """A class that a loop could take is one of those tried here; so is every field of `Choices`."""
    found = set()
    for module in pkgutil.iter_modules(doremi.objectives.__path__, "doremi.objectives."):
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, type) and value is not Objective and {"columns", "token_weights"} <= set(dir(value)):
                found.add(value)
    assert found == {type(make()) for make in OBJECTIVES.values()}
    assert {name for values in proxies() for name in values.get("choices", {})} == set(get_type_hints(Choices))


@every_objective
def test_columns_and_averages_are_a_number_a_domain(make: Callable[[], Objective]) -> None:
    objective = make()
    assert set(objective.logs) <= set(TRACE_COLUMNS) - OF_LOOP
    for step in range(4):
        columns, average = objective.columns(), objective.average_weights
        assert tuple(columns) == objective.logs
        assert (average is None) == ("weights" not in columns)
        weights = [] if average is None else [average, columns["weights"]]
        for value_K in (*columns.values(), *weights):
            assert (value_K.shape, value_K.dtype, value_K.requires_grad) == ((K,), torch.float64, False)
            assert bool(value_K.isfinite().all())
        for value_K in weights:
            assert float(value_K.sum()) == pytest.approx(1, abs=FLOAT64)
            assert float(value_K.min()) >= 0
        feed(objective, batch(step))


@every_objective
def test_what_tokens_count_adds_up_to_one(make: Callable[[], Objective]) -> None:
    """Over a batch with every domain; over one without a domain to no more, and one without a token makes no NaN."""
    objective = make()
    for step in range(4):
        feed(objective, batch(step))
        count_K = counts(batch(step))
        weight_K = objective.token_weights(count_K)
        assert (weight_K.shape, weight_K.dtype) == ((K,), torch.float64)
        assert float(weight_K.min()) >= 0
        total = float((weight_K * count_K).sum())
        assert total == pytest.approx(1, abs=FLOAT64) or (step % 2 and 0 < total < 1)
        assert bool(objective.token_weights(torch.zeros(K, dtype=torch.float64)).isfinite().all())


@every_objective
def test_scores_are_clipped_excess_where_it_says_so(make: Callable[[], Objective]) -> None:
    objective, of = make(), batch(0)
    feed(objective, of)
    excess_BT = torch.where(of[2], (of[0] - of[1]).clamp(min=0), 0.0).double()
    mean_K = torch.stack([excess_BT[of[3] == k].sum() for k in range(K)]) / counts(of)
    scores = objective.columns().get("scores")
    same = scores is not None and scores.tolist() == pytest.approx(mean_K.tolist(), abs=FLOAT64)
    assert same == objective.scores_clipped_excess


@every_objective
def test_micro_batches_move_weights_as_the_whole_batch_does(make: Callable[[], Objective]) -> None:
    whole, *others = [make() for _ in range(4)]
    for step in range(3):
        feed(whole, batch(step))
        for objective, rows in zip(others, (1, 2, 4), strict=True):
            feed(objective, batch(step), rows)
            assert seen(objective) == seen(whole)


@every_objective
def test_a_state_goes_on_bit_by_bit(make: Callable[[], Objective]) -> None:
    """By way of a file, with tensors and JSON apart, as checkpoints have it."""
    straight, first, second = make(), make(), make()
    for step in range(6):
        feed(straight, batch(step))
    for step in range(3):
        feed(first, batch(step))
    state = first.state_dict()
    tensors = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
    rest = json.loads(json.dumps({name: value for name, value in state.items() if name not in tensors}))
    second.load_state_dict({**safetensors.torch.load(safetensors.torch.save(tensors)), **rest})
    assert seen(second) == seen(first)
    for step in range(3, 6):
        feed(second, batch(step))
    assert seen(second) == seen(straight)


@every_objective
def test_extreme_batches_leave_weights_on_the_simplex(make: Callable[[], Objective]) -> None:
    """Losses that are huge, a batch without a token, and one whose domain is alone."""
    objective = make()
    loss, reference, mask, domain = batch(0)
    for of in (
        (loss * 1e30, reference, mask, domain),
        (loss * torch.nan, reference, mask & False, domain),
        (loss, reference * 1e30, mask, domain),
        (loss, reference, mask, domain * 0 + 1),
    ):
        feed(objective, of)
        for name in {"weights", "average"} & set(seen(objective)):
            weights = seen(objective)[name]
            assert weights is None or (sum(weights) == pytest.approx(1, abs=FLOAT64) and min(weights) >= 0)


LOSS, MASK, DOMAIN = torch.rand(4, 5), torch.ones(4, 5, dtype=torch.bool), torch.tensor([0, 1, 2, 0])
MISUSE: dict[str, tuple[Callable[[Scoring], object], str]] = {
    "another reference": (lambda s: s.sums(LOSS, LOSS[:, 1:], MASK, DOMAIN), r"not \[\(4, 5\), \(4, 4\)"),
    "another mask": (lambda s: s.sums(LOSS, LOSS, MASK[1:], DOMAIN), r"\(4, 5\), \(3, 5\)"),
    "flat losses": (lambda s: s.sums(LOSS[:, 0], LOSS[:, 0], MASK[:, 0], DOMAIN), r"need losses.* \[B, T\]"),
    "a domain for each token": (lambda s: s.sums(LOSS, LOSS, MASK, LOSS.long()), r"domains \[B\], not"),
    "domains that are no numbers": (lambda s: s.sums(LOSS, LOSS, MASK, DOMAIN > 0), "not torch.bool"),
    "a fourth domain": (lambda s: s.sums(LOSS, LOSS, MASK, DOMAIN + 1), r"outside 0 \.\. 2"),
    "sums of two domains": (lambda s: s.update(torch.ones(2, 2)), r"sums_2K has shape \(2, 2\) where \(2, 3\)"),
    "scores in place of sums": (lambda s: s.update(torch.ones(3)), "sums_2K has shape"),
    "an infinite sum": (lambda s: s.update(torch.tensor([[1, torch.inf, 1], [1, 1, 1]])), "sums_2K is not finite"),
    "no number": (lambda s: s.update(torch.full((2, 3), torch.nan)), "sums_2K is not finite"),
}


@every_objective
def test_misuse_is_told_in_one_line_and_moves_nothing(make: Callable[[], Objective]) -> None:
    objective = make()
    if objective.scoring is None:
        return
    feed(objective, batch(0))
    before = seen(objective)
    for misuse, says in MISUSE.values():
        with pytest.raises(ValueError, match=says) as caught:
            misuse(objective.scoring)
        assert "\n" not in str(caught.value)
        assert seen(objective) == before


@every_objective
def test_foreign_states_and_counts_are_refused(make: Callable[[], Objective]) -> None:
    objective = make()
    before = seen(objective)
    with pytest.raises(ValueError, match=r"has shape \(2,\)|another objective's: alpha_K"):
        objective.load_state_dict(GroupDRO(2).state_dict())
    if objective.scoring is not None:
        state = objective.state_dict()
        for name in (name for name, value in state.items() if isinstance(value, torch.Tensor)):
            with pytest.raises(ValueError, match=f"{name} is not finite"):
                objective.load_state_dict({**state, name: torch.full((K,), torch.nan)})
        with pytest.raises(ValueError, match="count_K has shape"):
            objective.token_weights(torch.ones(2))
    assert seen(objective) == before


SCORINGS = {type(objective.scoring) for make in OBJECTIVES.values() if (objective := make()).scoring is not None}


@pytest.mark.parametrize("scoring", sorted(SCORINGS, key=lambda kind: kind.__name__))
@pytest.mark.parametrize(
    "bad", [{"eta": -1}, {"eta": torch.inf}, {"eta": torch.nan}, {"smoothing": 1.5}, {"smoothing": -0.1}]
)
def test_impossible_constants_are_refused(scoring: type[GroupDRO], bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="finite eta"):
        scoring(2, **bad)


# -- exporters -------------------------------------------------------------------------------------------------------

every_target = pytest.mark.parametrize("target", TARGETS)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """One for all targets, which write elsewhere."""
    return RunDirectory(make_run(tmp_path_factory.mktemp("run") / "demo", MadeRun(domains=AWKWARD, seeds=(0,))))


def test_every_exporter_has_a_reader_of_ours() -> None:
    assert set(READERS) == set(TARGETS) - {"axolotl"}  # which has no weights


@every_target
def test_weights_in_its_unit_and_in_order(run: RunDirectory, target: str, tmp_path: Path) -> None:
    """One in a million stays; the sum is exact, and what the unit says is what is counted."""
    path = weights_file(tmp_path / "a.json", dict(zip(AWKWARD, [1e-6, 0.2, 0.3, 0.499999], strict=True)))
    export(run, target, mixture=path, out=tmp_path / "out")
    if target not in READERS:
        return
    names, weights = READERS[target](tmp_path / "out")
    domains = read_blend(run, path).domains
    assert domains[0].weight == Decimal("0.000001")
    shares = [float(d.weight) / (d.length if TARGETS[target].counts == "documents" else 1) for d in domains]
    expected = dict(zip(AWKWARD, (share / sum(shares) for share in shares), strict=True))
    assert [domain_in(name) for name in names] == order_in(target, list(AWKWARD))
    found = dict(zip(map(domain_in, names), map(float, weights), strict=True))
    assert found == pytest.approx(expected, abs=2e-12)
    assert sum(weights) == 1
    assert min(weights) > 0


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Blend:
    """A thousand domains (all with the files of one), with weights from 1e-12 to about a half."""
    run = RunDirectory(make_run(tmp_path_factory.mktemp("many") / "run", MadeRun(domains=["web"], seeds=())))
    entry = json.loads((run.corpus_folder / "manifest.json").read_text())["domains"]["web"]
    edit_manifest(run, domains={f"domain {i}": {**entry, "folder": f"domain-{i}"} for i in range(1000)})
    whole = run.whole_corpus().folder
    for i in range(1000):
        for folder in (whole, run.corpus_folder):
            (folder / f"domain-{i}").symlink_to("web")
    return read_blend(
        run, weights_file(run.root / "a.json", {f"domain {i}": 10 ** (-12 * i / 999) for i in range(1000)})
    )


@every_target
def test_a_thousand_domains_in_order(target: str, tmp_path: Path, many: Blend) -> None:
    if target == "gpt-neox":
        with pytest.raises(ExportError, match="GPT-NeoX mixes at most 254 data sets, and these are 1,000"):
            list(files_of(with_entries(many, TARGETS[target], tmp_path), TARGETS[target], tmp_path))
        return
    files = files_of(with_entries(many, TARGETS[target], tmp_path), TARGETS[target], tmp_path)
    write_all(((name, content) for name, content in files if "/" not in name), tmp_path)
    if target not in READERS:
        return
    names, weights = READERS[target](tmp_path)
    assert list(map(number_in, names)) == order_in(target, list(range(1000)), key=lambda i: f"domain {i}")
    assert sum(weights) == 1
    assert min(weights) > 0


@every_target
def test_zero_weights(run: RunDirectory, target: str, tmp_path: Path) -> None:
    path = weights_file(tmp_path / "a.json", dict(zip(AWKWARD, [0.0, 0.7, 0.3, 0.0], strict=True)))
    folder, kept = tmp_path / "out", TARGETS[target].keeps_zeros
    export(run, target, mixture=path, out=folder)
    text = (folder / "README.txt").read_text(encoding="utf-8")
    assert (f"Left out, because their weight is 0: 'web', {AWKWARD[3]!r}" in text) == (not kept)
    assert json.loads((folder / "doremi-export.json").read_text())["dropped"] == (
        [] if kept else [AWKWARD[0], AWKWARD[3]]
    )
    if target not in READERS:
        return
    names, weights = READERS[target](folder)
    assert list(map(domain_in, names)) == order_in(target, list(AWKWARD) if kept else list(AWKWARD[1:3]))
    assert (0 in weights) == kept
    # validation of Megatron and NeMo keeps every domain
    assert (folder / "web").exists() == (target in ("megatron", "nemo"))


@every_target
def test_weights_of_other_domains_name_file_and_domain(run: RunDirectory, target: str, tmp_path: Path) -> None:
    path = weights_file(tmp_path / "mine.json", {"web": 0.5, "books": 0.5})
    with pytest.raises(MixtureError, match=r"mine\.json: .*'books'"):
        export(run, target, mixture=path, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@every_target
def test_readme_says_unit_tokenizer_and_epochs(run: RunDirectory, target: str, tmp_path: Path) -> None:
    written = export(run, target, out=tmp_path / "out")
    text = (tmp_path / "out/README.txt").read_text(encoding="utf-8")
    domain = read_blend(run).domains[1]
    assert f"The weights count  {TARGETS[target].unit}," in text
    assert tmp_path / "out" / TARGETS[target].main in written
    assert "ab" * 32 in text
    assert "100000 tokens" in text
    line = next(line for line in text.splitlines() if line.endswith(domain.name))
    expected = 0.2 * 100_000 / domain.tokens
    assert line.split()[:5] == [
        "0.200000000000",
        str(domain.tokens),
        str(domain.documents),
        f"{domain.tokens_per_document:.1f}",
        f"{expected:.4g}",
    ]


@every_target
def test_export_twice_gives_the_same_files_and_leaves_the_run_alone(run: RunDirectory, target: str) -> None:
    before = {p: p.stat().st_mtime_ns for p in run.root.rglob("*") if p.is_file()}
    first = export(run, target)
    contents = [path.read_bytes() for path in first]
    assert export(run, target) == first
    assert [path.read_bytes() for path in first] == contents
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert {p for p in (run.root / "export" / target).rglob("*") if not p.is_dir()} == set(first)
    shutil.rmtree(run.root / "export")


@every_target
def test_another_folder_by_relative_link(run: RunDirectory, target: str, tmp_path: Path) -> None:
    out = tmp_path / "elsewhere" / "deep"
    written = export(run, target, out=out)
    links = [path for path in written if path.is_symlink()]
    assert bool(links) == (target in LINKING)
    assert all(path.is_relative_to(out) and path.exists() for path in written)
    assert not any(path.readlink().is_absolute() for path in links)


# -- readers of documents --------------------------------------------------------------------------------------------

THREE = ["first line\nsecond\r\n", "zweiter Text: \u00e4\u00f6\u00fc \u4e2d\u6587 \U0001f600", ""]
every_format = pytest.mark.parametrize(("end", "array"), CASES, ids=[f"{e}{' array' if a else ''}" for e, a in CASES])


def test_every_packing_is_tried() -> None:
    assert set(PACKERS) == {"", *PACKINGS}
    assert sum(array for _, array in CASES) == len(PACKERS)


@every_format
def test_three_documents(tmp_path: Path, end: str, array: bool) -> None:
    files = write_documents(tmp_path, end, array, list(THREE))
    skipped: Counter[str] = Counter()
    assert list(read_documents(files, text_field="text", domain="web", skipped=skipped)) == THREE
    assert not skipped


@every_format
def test_a_bad_record_is_named_or_skipped_and_counted(tmp_path: Path, end: str, array: bool) -> None:
    files = write_documents(tmp_path, end, array, [THREE[0], None, *THREE[1:]])
    with pytest.raises(DataError) as caught:
        list(read_documents(files, text_field="text", domain="web"))
    container = ENDS[end]
    tables = ("parquet", "arrow", "csv", "tsv")
    unit = "record" if array else "row" if container in tables else "line"
    bad = f"{files[0]}: 1.txt" if container == "tar" else files[1] if len(files) > 1 else files[0]
    assert f"domain 'web': {bad}, {unit} 2: " in str(caught.value)
    assert "\n" not in str(caught.value)
    skipped: Counter[str] = Counter()
    assert list(read_documents(files, text_field="text", domain="web", skipped=skipped)) == THREE
    reasons = {"text": "not UTF-8", "tar": "not UTF-8", "csv": "NUL", "tsv": "NUL"}
    assert skipped == {reasons.get(container, "null"): 1}
