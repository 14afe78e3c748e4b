"""The report as a page: its pictures, its making, its size, and that a browser shows it."""

from __future__ import annotations

import contextlib
import io
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from doremi.report import write_report
from doremi.report.plots import Ranges, _apart, _ticks, forest, forest_scale, frame
from doremi.report.svg import TONES, drawing
from doremi.report.walks import Walk, _blocks
from doremi.rundir.layout import RunDirectory
from make_run import MadeRun
from report_run import Page, a_report, a_run, words

FIGURES = ("forest", "profile-0", "curves", "weights", "scores")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return a_report(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def page(finished: Path) -> Page:
    return Page(finished / "report.html")


# -- the pictures ----------------------------------------------------------------------------------------------------


def test_every_picture_has_a_name_and_its_numbers_as_a_table(page: Page) -> None:
    figures = page.root.all("figure")
    assert len(figures) == len(FIGURES)
    for key, figure in zip(FIGURES, figures, strict=True):
        named = [e for e in figure.all() if e.attributes.get("role") == "img"]
        assert named, key
        assert all(e.attributes.get("aria-label") or e.attributes.get("aria-labelledby") for e in named)
        own = "comparisons" if key == "forest" else f"{key}-table"
        assert [t.attributes["id"] for t in figure.all("details")[0].all("table")] == [own]


def test_running_means_and_scores_are_those_of_the_trace(page: Page, finished: Path) -> None:
    trace = RunDirectory(finished).proxy(1).trace()
    rows = page.table("weights-table")
    for i, domain in enumerate(MadeRun().domains):
        weight = trace["weights"][:, i].mean(dtype=float)
        repeated = weight * 100_000 / RunDirectory(finished).corpus().count("train", "tokens")[i]
        assert rows[domain]["Running mean, seed 1"] == f"{100 * weight:.2f} % {repeated:.2f} epochs"
        assert rows[domain]["Step 1"] == f"{100 * trace['weights'][0, i]:.2f} %"
    assert page.table("scores-table")["code"]["Around step 40"] == f"{trace['scores'][-1, 1]:.4f}"


def test_learning_curves_end_where_the_models_ended(page: Page, finished: Path) -> None:
    run = RunDirectory(finished)
    last = [list(run.main("tiny", "doremi", s).records("evaluation"))[-1]["report"]["loss"] for s in (0, 1)]
    assert page.table("curves-table")["5,120"]["doremi"].startswith(f"{np.mean(last):.4f} ")


def test_a_panel_for_each_domain_and_a_line_for_each_seed(page: Page) -> None:
    figure = next(f for f in page.root.all("figure") if f.attributes["aria-labelledby"] == "weights-heading")
    panels = [e for e in figure.all("div") if e.attributes.get("class") == "panel"]
    assert len(panels) == 3
    thin = [p for p in panels[0].all("path") if "stroke-width:0.7" in (p.attributes.get("style") or "")]
    thick = [p for p in panels[0].all("path") if "stroke-width:1.8" in (p.attributes.get("style") or "")]
    assert sum("var(--s0)" in str(p.attributes["style"]) for p in thin) == len(thick) == 2


def test_colors_follow_the_page(finished: Path) -> None:
    text = (finished / "report.html").read_text()
    assert not [stand_in for stand_in, _ in TONES.values() if stand_in in text]
    style = text[text.index("<style>") : text.index("</style>")]
    light, dark, printed = (style.split(":root {")[n].split("}")[0] for n in (1, 2, 3))
    used = set(re.findall(r"var\((--[\w-]+)\)", text))
    for block in (light, dark, printed):
        assert used <= set(re.findall(r"(--[\w-]+):", block))


def test_blocks_are_means_over_the_steps_they_stand_for() -> None:
    steps, scores = np.arange(1.0, 8.0), np.arange(14.0).reshape(7, 2)
    scores[:3, 1] = np.nan
    scores[4, 0] = np.nan
    middle, means = _blocks(Walk(0, steps, scores, scores, scores), 3)
    np.testing.assert_array_equal(middle, [2.0, 5.0, 7.0])
    np.testing.assert_array_equal(means, [[2.0, np.nan], [8.0, 9.0], [12.0, 13.0]])


def test_scales() -> None:
    even = frame((1, 9), np.array([0.2, 0.5, np.nan]), str)
    assert even.y == (0.0, pytest.approx(0.525))
    assert not even.log
    assert frame((1, 9), np.array([0.01, 0.5]), str).log
    assert frame((1, 9), np.array([0.1, 0.5]), str, level=0.001).log
    assert _ticks(0.002, 1.0, log=True) == [0.01, 0.1, 1.0]
    assert _ticks(0.0, 0.55, log=False) == [0.0, 0.2, 0.4]


def test_one_wide_interval_does_not_press_the_others_together() -> None:
    nan = float("nan")
    left, right = forest_scale([Ranges([-0.02, 0.01], [-0.03, 0.0], [-0.01, 0.02], "s0")])
    assert left < -0.03
    assert right > 0.02
    left, right = forest_scale([Ranges([-0.02, 0.01, 0.0], [-0.03, 0.0, -2.9], [-0.01, 0.02, 3.0], "s0")])
    assert -0.1 < left < -0.03
    assert 0.02 < right < 0.1
    left, right = forest_scale([Ranges([-0.02, nan], [nan, nan], [nan, nan], "s0")])
    assert left < -0.02 < 0 <= right


def test_labels_move_apart_without_changing_places() -> None:
    moved = _apart([0.5, 0.1, 0.52, 0.98, 0.99], 0.1)
    assert np.argsort(moved).tolist() == [1, 0, 2, 3, 4]
    assert np.diff(sorted(moved)).min() >= 0.1 - 1e-12
    assert max(moved) <= 1.0
    assert moved[1] == pytest.approx(0.1, abs=0.1)


def test_names_in_pictures_are_text_not_markup_or_mathematics() -> None:
    import matplotlib

    with matplotlib.rc_context({"font.size": 31.0}):  # a reader's own style has no say, and keeps its values
        with drawing():
            assert matplotlib.rcParams["font.size"] == 10.0
            marks = [Ranges([0.5, 0.25], [0.4, 0.2], [0.6, 0.3], "s0")]
            svg = forest("k", "<script>", ["$x$_<b>&\u65e5", "<script>"], marks, str, beside=["<b>", "$"])
        assert matplotlib.rcParams["font.size"] == 31.0
    assert "$x$_&lt;b&gt;&amp;\u65e5" in svg
    assert "<script" not in svg


# -- the page as a file ----------------------------------------------------------------------------------------------


def test_the_page_is_well_made(page: Page) -> None:
    everything = page.root.all()
    ids = [str(e.attributes["id"]) for e in everything if "id" in e.attributes]
    assert len(ids) == len(set(ids))
    used = [
        str(e.attributes[n]) for e in everything for n in ("aria-labelledby", "href", "clip-path") if n in e.attributes
    ]
    assert {re.sub(r"^url\(#|^#|\)$", "", value) for value in used} - {"data:,"} <= set(ids)
    assert all(e.attributes.get("scope") in ("col", "row") for e in page.root.all("th"))
    assert all(t.all("caption") for t in page.root.all("table"))
    levels = [int(e.tag[1]) for e in everything if re.fullmatch("h[1-6]", e.tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert max(np.diff(levels)) == 1
    html = page.root.all("html")[0]
    assert html.attributes["lang"] == "en"
    assert words(html.all("title")[0]) == "demo: DoReMi report"
    assert {"header", "nav", "main", "footer"} <= {e.tag for e in everything}


def test_the_page_needs_nothing_else(page: Page, finished: Path) -> None:
    text = (finished / "report.html").read_text()
    assert not re.findall(r"https?:|//\w|@import|url\((?!#)|\bsrc=", text)
    assert not page.root.all("script")
    assert len(page.root.all("style")) == 1
    links = [str(e.attributes[n]) for e in page.root.all() for n in ("href", "src") if n in e.attributes]
    assert all(link.startswith("#") or link == "data:," for link in links)


def test_the_same_files_give_the_same_bytes_without_torch(finished: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(finished, tmp_path / finished.name))
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "import matplotlib; matplotlib.rcParams['font.size'] = 31; matplotlib.rcParams['text.usetex'] = True\n"
        "from pathlib import Path; from doremi.rundir.layout import RunDirectory\n"
        "from doremi.report import write_report\n"
        "write_report(RunDirectory(Path(sys.argv[1]))); assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    (copied / "report.html").unlink()
    subprocess.run([sys.executable, "-c", program, str(copied)], check=True)
    assert (copied / "report.html").read_bytes() == (finished / "report.html").read_bytes()
    assert [p.name for p in copied.glob(".report*")] == []


def test_importing_the_report_is_cheap() -> None:
    program = "import doremi.report, sys; assert not {'matplotlib', 'jinja2', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_large_run_stays_under_a_megabyte(tmp_path: Path) -> None:
    effect = {"doremi": -0.02, "natural": 0.0, "uniform": 0.01, "unimax": -0.01, "temperature": 0.0, "mine": 0.02}
    names = ["C", "C#", "C++", "Q&A", "&lt; $x$ {{ y }}", *(f"Domain number {i} (long)" for i in range(17))]
    made = MadeRun(domains=names, seeds=(0, 1), steps=200, effect=effect, step_noise=0.05, documents=6)
    path = write_report(RunDirectory(a_run(tmp_path / "large", made)))
    assert path.stat().st_size < 1_000_000
    assert set(Page(path).table("domains")) == set(names)


@pytest.mark.slow
def test_a_thousand_domains_show_thirty(tmp_path: Path) -> None:
    made = MadeRun(domains=[f"d{i}" for i in range(1000)], seeds=(0,), steps=20, documents=4)
    path = write_report(RunDirectory(a_run(tmp_path / "many", made)))
    assert path.stat().st_size < 3_000_000
    page = Page(path)
    rows = page.table("mixture")
    assert len(rows) == 31
    assert next(iter(rows)) == "d999"
    assert list(rows)[-1] == "970 more domains"
    assert len(page.table("domains")) == 30
    assert "This page shows the 30 largest of 1,000 domains" in words(page.root)


# -- in a browser ----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """Debian's browser; the test is skipped where it or Playwright is not installed."""
    browser_path = shutil.which("chromium")
    if browser_path is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="Playwright is not installed (pip install playwright)"
    )
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=browser_path, args=arguments)
        yield browser
        browser.close()


def test_a_browser_shows_it_without_complaint(finished: Path) -> None:
    address, complaints = (finished / "report.html").as_uri(), []
    with chromium() as browser:
        tab = browser.new_page()
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("request", lambda request: complaints.append(request.url) if request.url != address else None)
        tab.goto(address)
        tab.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        for width, scheme in ((1280, "light"), (1280, "dark"), (375, "light"), (375, "dark")):
            tab.set_viewport_size({"width": width, "height": 800})
            tab.emulate_media(color_scheme=scheme)
            sizes = tab.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
            assert sizes[0] <= sizes[1] == width
            paper, ink = tab.evaluate(
                "[getComputedStyle(document.body).backgroundColor,"
                " getComputedStyle(document.querySelector('.plot text')).fill]"
            )
            assert (_lightness(paper) < _lightness(ink)) == (scheme == "dark")
    assert complaints == []


def test_a_table_that_goes_on_beyond_the_edge_is_shaded_there(finished: Path) -> None:
    """On a phone: a shade at the right edge until the end is reached; none where the table fits."""
    with chromium() as browser:
        tab = browser.new_page()
        tab.goto((finished / "report.html").as_uri())
        region = tab.locator(".scroll:has(#candidates)")
        for scheme in ("light", "dark"):
            tab.emulate_media(color_scheme=scheme)
            tab.set_viewport_size({"width": 375, "height": 800})
            paper = _edge(tab.locator(".answer"))
            region.evaluate("one => one.scrollLeft = 0")
            assert abs(_edge(region) - paper).max() > 30
            region.evaluate("one => one.scrollLeft = 1e6")
            assert abs(_edge(region) - paper).max() == 0
            tab.set_viewport_size({"width": 1280, "height": 800})
            assert abs(_edge(region) - paper).max() == 0


def _edge(place: Any) -> np.ndarray:
    """Color of the pixel at the right edge, near the bottom, where no text stands. `[3]`"""
    from matplotlib.image import imread

    pixels = np.round(255 * imread(io.BytesIO(place.screenshot())))[..., :3]
    return pixels[-3, -1].astype(int)


def _lightness(color: str) -> float:
    return sum(float(x) for x in re.findall(r"[\d.]+", color)[:3])
