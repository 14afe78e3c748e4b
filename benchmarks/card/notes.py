"""What is printed on a card, kept in a folder at once, so that whoever is killed leaves all that was known."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from pathlib import Path

MANY = "study_"  # how figures begin of which there are so many that they would hide what was said before
LOG, FIGURES = "log.txt", "figures.jsonl"
NO_CARD = "CPU (these figures mean nothing)"


class Notes:
    """Lines on the screen and in log.txt, figures in figures.jsonl, each written out at once."""

    def __init__(self, folder: Path, card: str = NO_CARD) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.card, self.step, self.began = card, "", time.monotonic()
        self._turn = threading.Lock()
        self._log = (folder / LOG).open("a", buffering=1, encoding="utf-8")
        self._figures = (folder / FIGURES).open("a", buffering=1, encoding="utf-8")

    def say(self, text: str) -> None:
        """Each line with the seconds since the beginning."""
        with self._turn:  # programs side by side are heard by a thread each
            for line in text.splitlines():
                stamped = f"{time.monotonic() - self.began:6.1f}  {line}"
                print(stamped, flush=True)
                self._log.write(stamped + "\n")

    def figure(self, values: Mapping[str, object]) -> None:
        """A figure with its `figure`, `value` and `unit`, and the card that it was measured on."""
        line = json.dumps({**values, "step": self.step, "card": self.card})
        self._figures.write(line + "\n")
        if not str(values.get("figure")).startswith(MANY):
            self.say(line)

    def close(self) -> None:
        self._log.close()
        self._figures.close()


def figures_in(folder: Path) -> list[dict[str, object]]:
    """All figures below a folder, in the order of their files; a last line that was cut off is left out."""
    found = []
    for path in sorted(folder.rglob(FIGURES)):
        for line in path.read_text(encoding="utf-8").split("\n")[:-1]:
            found.append(json.loads(line))
    return found
