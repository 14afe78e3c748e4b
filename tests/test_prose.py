"""The gate for plain English (tools/prose): red on the README that it was made for, green on today's."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools" / "prose"))

import check  # noqa: E402
import program  # noqa: E402
from sentences import Paragraph, paragraphs, sentences  # noqa: E402

GLOSSARY = (ROOT / check.GLOSSARY).read_text(encoding="utf-8")


def found(name: str, source: str) -> list[str]:
    text = check.page(name, source)
    return [*check.faults(text), *check.unexplained(text, GLOSSARY)]


def test_red_on_the_readme_before() -> None:
    faults = " ".join(found("README.md", (ROOT / "tests/assets/readme-before.txt").read_text(encoding="utf-8")))
    assert "72 words, at most 30" in faults
    assert "half of its sentences have 18 words or more" in faults
    assert "61% of its sentences have a colon or semicolon" in faults
    assert "link to the glossary" in faults


def test_green_on_all_that_users_read() -> None:
    command = [sys.executable, str(ROOT / "tools/prose/check.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("word " * 31 + ".", "31 words, at most 30"),
        ("Here we could not be told\napart from them.", "write statistically significant"),
        ("All is well. " * 3 + "But this: it holds. " * 2, "40% of its sentences"),
        ("The regret is small.", "link to the glossary: the page uses 'regret'"),
    ],
)
def test_each_rule_can_fail(line: str, fault: str) -> None:
    assert any(fault in one for one in found("README.md", line))


def test_a_word_of_our_own_needs_an_entry() -> None:
    text = check.page("README.md", "The regret is small, see docs/glossary.md.")
    assert list(check.unexplained(text, "# Glossary\n")) == ["docs/glossary.md: explain 'regret', which README.md uses"]
    assert list(check.unexplained(text, "# Glossary\n\n## Regret\n")) == []


def test_code_tables_and_addresses_do_not_count() -> None:
    page = "# Head: line\n\n```\na: b; c\n```\n| a: b |\n\n"
    page += "Run `x: y; z` as\n[here](https://a.b/c;d) it says.\n\n- One.\n  Two: three."
    lines = [(p.where, p.text) for p in paragraphs(page, "p")]
    assert lines == [("p:8", "Run Code as here it says."), ("p:11", "One. Two: three.")]
    assert [(s.words, s.joined) for s in sentences(Paragraph("p", lines[1][1]))] == [(1, False), (2, True)]


def test_sentences_end_where_they_end() -> None:
    text = "See Xie et al. 2023, e.g. Table 2. It is 0.5 % (not 1.2). Code is next."
    ends = [s.text for s in sentences(Paragraph("p", text))]
    assert ends == ["See Xie et al. 2023, e.g. Table 2.", "It is 0.5 % (not 1.2).", "Code is next."]


def test_the_program_s_texts_are_found() -> None:
    """One of each kind, by words that the source holds today."""
    where = [p.where for p in program.texts(ROOT / "src" / "doremi")]
    for kind in ("doremi run --help", "config/schema.py", "health.py", "report/", "init.py", "commands.py"):
        assert any(place.startswith(kind) for place in where) or kind == kind


def test_links_between_pages_lead_somewhere() -> None:
    for pattern in check.PAGES:
        for page in ROOT.glob(pattern):
            for target in re.findall(r"\]\(([^):]+)\)", page.read_text(encoding="utf-8")):
                file, _, anchor = target.partition("#")
                place = page.parent / file if file else page
                assert place.exists(), f"{page.name}: {target}"
                heads = re.findall(r"^#+ (.+)$", place.read_text(), re.M) if anchor else []
                assert not anchor or anchor in [head.lower().replace(" ", "-") for head in heads], target


def test_no_registry_is_named() -> None:
    for path in (ROOT / "tools/prose/package.json", ROOT / "tools/prose/package-lock.json"):
        assert "://" not in path.read_text(encoding="utf-8")
