"""Are the texts that users read short and plain? `make check` runs this; it prints what is not and ends with 1.

    python tools/prose/check.py                     pages and the program's texts
    python tools/prose/check.py --textlint COMMAND  also by textlint, which counts words in its own way
    python tools/prose/check.py --list              every sentence with its number of words

Pages are README, CONTRIBUTING, CHANGELOG and docs/*.md; LOG.md and docs/results are records and stay as written.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import program
from sentences import Paragraph, paragraphs, sentences

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/*.md")
GLOSSARY = "docs/glossary.md"
PROGRAM = "the program's texts"

LONGEST = 30  # words of a sentence
MEDIAN = 16  # words, of each page and of the program's texts
JOINED = {"README.md": 0.2}  # share of sentences with a colon or semicolon, at most

# Words that mean something of their own here. The glossary explains each, and a page that uses one links to it.
OWN = (
    "natural",
    "uniform average",
    "natural average",
    "regret",
    "epoch-matched",
    "settled",
    "proxy",
    "reference model",
    "main model",
    "candidate",
    "equal compute",
    "budget",
    "select half",
    "report half",
    "domain",
    "mixture",
    "limits",
    "rounds",
    "verdict",
    "undecided",
    "margin",
)

# Words of the workshop, and what to write instead.
UNWANTED: Mapping[str, str] = {
    r"\bday of building\b": "nothing: users do not read a diary",
    r"\bthe design (says|said|asks|names)\b|\bthe design's\b": "the decision itself",
    r"\bthe house\b|\bthe machine works\b": "the code",
    r"\b(told apart|told from|tell apart)\b": "statistically significant",
    r"\b(goes|go) on from\b": "resume",
    r"\byardstick\b": "baseline",
    r"\b(in|with) the same bytes\b": "identical",
    r"\bmend(ed|s)?\b": "fix",
    r"\btold aloud\b|\bsaid aloud\b": "reported",
}


@dataclass(frozen=True)
class Text:
    """A page, or all texts of the program."""

    name: str
    paragraphs: list[Paragraph]
    source: str = ""  # Markdown, for its links


def page(name: str, source: str) -> Text:
    return Text(name, list(paragraphs(source, name)), source)


def faults(text: Text) -> Iterator[str]:
    """One line for each thing to change."""
    found = [sentence for paragraph in text.paragraphs for sentence in sentences(paragraph)]
    for sentence in found:
        if sentence.words > LONGEST:
            yield f"{sentence.where}: {sentence.words} words, at most {LONGEST}: {sentence.text}"
        for pattern, instead in UNWANTED.items():
            if hit := re.search(pattern, sentence.text, re.IGNORECASE):
                yield f"{sentence.where}: {hit[0]!r}: write {instead}: {sentence.text}"
    if not found:
        return
    median = statistics.median(sentence.words for sentence in found)
    if median > MEDIAN:
        yield f"{text.name}: half of its sentences have {median:g} words or more, at most {MEDIAN}"
    share = sum(sentence.joined for sentence in found) / len(found)
    if share > JOINED.get(text.name, 1):
        yield f"{text.name}: {share:.0%} of its sentences have a colon or semicolon, at most {JOINED[text.name]:.0%}"


def unexplained(text: Text, glossary: str) -> Iterator[str]:
    """Our own words that the glossary lacks, and pages that use such words without a link to it."""
    running = " ".join(paragraph.text for paragraph in text.paragraphs).lower()
    used = [word for word in OWN if re.search(rf"\b{re.escape(word)}\b", running)]
    explained = {entry.lower() for entry in re.findall(r"^#+ (.+)$", glossary, re.MULTILINE)}
    for word in used:
        if word not in explained:
            yield f"{GLOSSARY}: explain {word!r}, which {text.name} uses"
    if used and text.source and text.name != GLOSSARY and "glossary.md" not in text.source:
        yield f"{text.name}: link to the glossary: the page uses {used[0]!r}"


def all_texts() -> list[Text]:
    pages = [path for pattern in PAGES for path in sorted(ROOT.glob(pattern))]
    read = [page(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")) for path in pages]
    return [*read, Text(PROGRAM, list(program.texts(ROOT / "src/doremi")))]


def textlint(command: str, texts: Iterable[Text]) -> list[str]:
    """What textlint finds. It takes a line break for an end, so it gets each paragraph on one line."""
    where = [paragraph for text in texts for paragraph in text.paragraphs]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "texts.txt"
        file.write_text("".join(paragraph.text + "\n" for paragraph in where), encoding="utf-8")
        config = Path(__file__).with_name(".textlintrc.json")
        done = subprocess.run(
            [command, "--config", str(config), "--format", "unix", str(file)], capture_output=True, text=True
        )
    if done.returncode not in (0, 1) or done.stderr.strip():
        return [f"textlint did not run: {(done.stderr or done.stdout).strip()}"]
    hits = re.findall(r"^.*?texts\.txt:(\d+):\d+: (.*)$", done.stdout, re.MULTILINE)
    return [f"{where[int(line) - 1].where}: textlint: {message}: {where[int(line) - 1].text}" for line, message in hits]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--textlint", metavar="COMMAND", help="the textlint program")
    parser.add_argument("--list", action="store_true", help="print every sentence with its words")
    arguments = parser.parse_args()
    texts = all_texts()
    if arguments.list:
        for sentence in (s for text in texts for p in text.paragraphs for s in sentences(p)):
            print(f"{sentence.words:3d} {':' if sentence.joined else ' '} {sentence.where}: {sentence.text}")
        return 0
    glossary = (ROOT / GLOSSARY).read_text(encoding="utf-8")
    found = [fault for text in texts for fault in (*faults(text), *unexplained(text, glossary))]
    if arguments.textlint:
        found += textlint(arguments.textlint, texts)
    print("\n".join(dict.fromkeys(found)) or f"{len(texts)} texts are short and plain")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
