"""`doremi import`: what was exported comes back, and what a file of another program does not say is asked for."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from doremi.cli.commands import app
from doremi.errors import ExportError, MixtureError
from doremi.export import TARGETS, Options, export
from doremi.export.imports import Source, import_mixtures
from doremi.mixture.files import read_mixture
from doremi.mixture.published import published_mixture
from doremi.rundir.layout import RunDirectory
from make_run import MadeRun, make_run
from read_exports import edit_manifest, weights_file

NAMES = ("web", "gr\u00fcne B\u00fccher", "code", "never")
WEIGHTS = dict(zip(NAMES, [0.7, 0.299999, 1e-6, 0.0], strict=True))
LENGTHS = dict(zip(NAMES, [20.5, 2050.0, 333.25, 100.0], strict=True))  # a hundredfold


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return RunDirectory(make_run(tmp_path_factory.mktemp("run") / "demo", MadeRun(domains=NAMES, seeds=(0,))))


@pytest.fixture
def places(tmp_path: Path) -> Path:
    """Paths of the user's, one domain with two, of different lengths."""
    value: dict[str, object] = {
        name: {"path": f"/data/{i}/", "tokens": "3B", "tokens_per_document": length}
        for i, (name, length) in enumerate(LENGTHS.items())
    }
    value["code"] = [
        {"path": "/data/c/one", "tokens": "1B", "tokens_per_document": 100},
        {"path": "/data/c/two", "tokens": "3B", "tokens_per_document": 1000},
    ]
    path = tmp_path / "paths.yaml"
    path.write_text(yaml.safe_dump(value, allow_unicode=True), encoding="utf-8")
    return path


def imported(run: RunDirectory, file: Path, **asked: object) -> dict[str, float]:
    (path,) = import_mixtures(run, Source(str(file), **asked), "mine")  # type: ignore[arg-type]
    found = read_mixture(path).weights
    path.unlink()
    return dict(found)


@pytest.mark.parametrize("mapped", [False, True], ids=["own", "paths"])
@pytest.mark.parametrize("target", [name for name in TARGETS if name != "axolotl"])
def test_an_export_comes_back(run: RunDirectory, target: str, tmp_path: Path, places: Path, mapped: bool) -> None:
    mixture = weights_file(tmp_path / "a.json", WEIGHTS)
    options = Options(budget="1B", paths=places) if mapped else None
    export(run, target, mixture=mixture, out=tmp_path / "out", options=options)
    assert imported(run, tmp_path / "out" / TARGETS[target].main) == pytest.approx(WEIGHTS, abs=1e-9)


def test_a_changed_file_is_what_counts(run: RunDirectory, tmp_path: Path) -> None:
    """Not the weights in the sidecar."""
    export(run, "megatron", mixture=weights_file(tmp_path / "a.json", WEIGHTS), out=tmp_path / "out")
    file = tmp_path / "out/blend.txt"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0].replace("0.7", "1.4", 1), *lines[1:]]))
    found = imported(run, file)
    assert found["web"] == pytest.approx(1.4 / 1.7)
    file.write_text("\n".join(lines[1:]))
    with pytest.raises(ExportError, match=r"blend\.txt: '.*/web/train' is only in one of the file and doremi-export"):
        imported(run, file)


BOOKS = NAMES[1]
FOLDER = "gr\u00fcne-B\u00fccher"
OLMO = "".join(
    f"    - {{source_name: {name}, target_ratio: {weight}, paths: [x]}}\n"
    for name, weight in zip(NAMES[:3], (0.5, 0.25, 0.25), strict=True)
)
FOREIGN: dict[str, tuple[str, str, dict[str, object]]] = {
    "megatron": (
        "blend.txt",
        "0.5 /x/web_text_document\n0.25 /x/code 0.25 /x/books",
        {"path": ("web=/x/web_text_document", f"{BOOKS}=/x/books")},
    ),
    "megatron, per split": (
        "b.json",
        json.dumps({"train": ["2", "a/web", "1", "a/code", "1", f"a/{FOLDER}"], "valid": None}),
        {"form": "megatron"},
    ),
    "official": ("d.json", json.dumps({"train_domain_weights": {"web": 2, "code": 1, BOOKS: 1}}), {"form": "doremi"}),
    "olmo": ("o.yaml", f"source_mixture_config:\n  source_list:\n    sources:\n{OLMO}", {}),
    "nanotron": (
        "n.yaml",
        f"data_stages: [{{data: {{dataset: {{dataset_folder: {{a/web: 2, b/code: 1, c/{FOLDER}: 1}}}}}}}}]",
        {},
    ),
    "regmix": ("r.yaml", f"train: {{train_web: 0.5, train_code: 0.25, 'train_{BOOKS}': 0.25}}", {"unit": "tokens"}),
    "csv": ("w.csv", f"domain,weight\nweb,50\ncode,25\n{BOOKS},25\nnever,0\n", {"unit": "tokens"}),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_files_of_other_programs(run: RunDirectory, tmp_path: Path, case: str) -> None:
    name, text, asked = FOREIGN[case]
    (tmp_path / name).write_text(text, encoding="utf-8")
    found = imported(run, tmp_path / name, **{"form": case.partition(",")[0], **asked})
    assert found == dict(zip(NAMES, [0.5, 0.25, 0.25, 0.0], strict=True))


def test_a_swarm_becomes_a_mixture_a_row(run: RunDirectory, tmp_path: Path) -> None:
    file = tmp_path / "ratios.csv"
    file.write_text(
        "run,name,index,code,web,gr\u00fcne B\u00fccher,never\n7a,x,0,0.5,0.5,0,0\n7b,x,1,0.1,0.2,0.3,0.4\n",
        encoding="utf-8",
    )
    with pytest.raises(ExportError, match=r"does not say what its weights count; say --unit tokens"):
        import_mixtures(run, Source(str(file), "olmix"), "swarm")
    paths = import_mixtures(run, Source(str(file), "olmix", "tokens"), "swarm")
    assert [path.name for path in paths] == ["swarm-7a.json", "swarm-7b.json"]
    assert read_mixture(paths[1]).weights == {"web": 0.2, "gr\u00fcne B\u00fccher": 0.3, "code": 0.1, "never": 0.4}
    for path in paths:
        path.unlink()


def test_documents_need_their_lengths(run: RunDirectory, tmp_path: Path, places: Path) -> None:
    file = tmp_path / "mixture.py"
    file.write_text(f"PROBABILITIES = {dict(zip(NAMES[:2], [0.9, 0.1], strict=True))!r}\n", encoding="utf-8")
    with pytest.raises(ExportError, match=r"weights count documents, and the mean length of 'web' is not said"):
        imported(run, file, form="huggingface")
    found = imported(run, file, form="huggingface", paths=places)
    tokens = np.array([0.9 * LENGTHS["web"], 0.1 * LENGTHS[NAMES[1]]])
    assert [found[name] for name in NAMES] == pytest.approx([*(tokens / tokens.sum()), 0, 0])


WRONG: dict[str, tuple[str, dict[str, object], str]] = {
    "no form": ("web: 1", {}, r"say what it is with --from: json, doremi, csv, yaml"),
    "another form": ("web: 1", {"form": "fairseq"}, "there is no form 'fairseq' to import from; there are json"),
    "another file": ("web: 1", {"form": "olmo"}, r"w\.txt: as olmo it should list source_name and target_ratio"),
    "no number": ("0.5 a/web x a/code", {"form": "megatron"}, "it is wrong: the weight 'x' is not a number"),
    "negative": ("0.5 a/web -1 a/code", {"form": "megatron"}, "not a number that is finite and not negative"),
    "paths alone": ("a/web a/code b", {"form": "megatron"}, "should be a list of weights and paths by turns"),
    "a stranger": ("1 a/books", {"form": "megatron"}, r"'a/books' is not a domain of this run .* --path NAME=a/books"),
    "stages": ("data_stages: [{}, {}]", {"form": "nanotron"}, "should have one data stage"),
    "code": ("import os\nWEIGHTS = {'a': os.getpid()}", {"form": "grain"}, "as grain it is wrong: malformed node"),
    "no weights": ("datasets: []", {"form": "axolotl"}, "holds no weights, since Axolotl takes none"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_files_are_one_line(run: RunDirectory, tmp_path: Path, case: str) -> None:
    text, asked, says = WRONG[case]
    (tmp_path / "w.txt").write_text(text)
    with pytest.raises(ExportError, match=says) as caught:
        imported(run, tmp_path / "w.txt", **asked)
    assert "\n" not in str(caught.value)


def test_a_name_that_is_taken_is_refused(run: RunDirectory, tmp_path: Path) -> None:
    file = weights_file(tmp_path / "a.json", WEIGHTS)
    for name, says in (("uniform", "a mixture of doremi's own"), ("a/b", "cannot be called 'a/b'")):
        with pytest.raises(MixtureError, match=says):
            import_mixtures(run, Source(str(file), "json"), name)
    assert not (run.root / "mixtures/imported/uniform.json").exists()


def test_a_published_mixture_by_the_names_that_are_said(tmp_path: Path) -> None:
    made = MadeRun(domains=("crawl", *list(published_mixture("pile-baseline").weights)[1:]), seeds=())
    run = RunDirectory(make_run(tmp_path / "pile", made))
    with pytest.raises(ExportError, match="'Pile-CC' is not a domain of this run"):
        import_mixtures(run, Source("pile-baseline"), "theirs")
    (path,) = import_mixtures(run, Source("pile-baseline", path=("crawl=Pile-CC",)), "theirs")
    assert read_mixture(path)["crawl"] == published_mixture("pile-baseline")["Pile-CC"]


def test_the_whole_way_by_command(run: RunDirectory, tmp_path: Path) -> None:
    """Imported, told of, and exported under its name."""
    file = weights_file(tmp_path / "a b.json", WEIGHTS)
    command = f"import {shlex.quote(str(run.root))} {shlex.quote(str(file))} --from json --name theirs"
    result = CliRunner().invoke(app, shlex.split(command))
    assert (result.exit_code, result.stdout.strip()) == (0, str(run.root / "mixtures/imported/theirs.json"))
    assert "note: theirs has weight 0 for 'never'" in result.stderr
    assert "--mixture theirs" in result.stderr
    written = export(run, "csv", mixture="theirs", out=tmp_path / "out")
    assert "0.700000000000" in written[0].read_text(encoding="utf-8")
    (run.root / "mixtures/imported/theirs.json").unlink()


def test_a_damaged_sidecar_is_named(run: RunDirectory, tmp_path: Path) -> None:
    export(run, "csv", mixture=weights_file(tmp_path / "a.json", WEIGHTS), out=tmp_path / "out")
    (tmp_path / "out/doremi-export.json").write_text('{"format": 1}')
    with pytest.raises(ExportError, match=r"doremi-export\.json: is not what an export writes"):
        imported(run, tmp_path / "out/mixture.csv")


def test_a_thousand_domains_come_back(tmp_path: Path) -> None:
    """Of which lengths differ a hundredfold, as shares of documents."""
    run = RunDirectory(make_run(tmp_path / "run", MadeRun(domains=["web"], seeds=())))
    entry = json.loads((run.corpus_folder / "manifest.json").read_text())["domains"]["web"]
    domains = {}
    for i in range(1000):
        train = {**entry["train"], "documents": 100, "tokens": 1000 if i % 2 else 100_000}
        domains[f"domain {i}"] = {**entry, "folder": f"domain-{i}", "train": train}
    edit_manifest(run, domains=domains)
    weights = {f"domain {i}": 10 ** (-12 * i / 999) for i in range(1000)}
    total = sum(weights.values())
    export(run, "huggingface", mixture=weights_file(tmp_path / "a.json", weights), out=tmp_path / "out")
    found = imported(run, tmp_path / "out/mixture.py")
    assert found == pytest.approx({name: weight / total for name, weight in weights.items()}, abs=1e-9)
