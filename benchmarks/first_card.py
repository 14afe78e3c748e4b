"""A quarter of an hour on a GPU: what is measured first is worth most, and whoever is cut off keeps what there is.

    python benchmarks/first_card.py --pack FOLDER --text TEXT   make what a machine without network needs
    python benchmarks/first_card.py --out OUT --data FOLDER     there: all steps, or some (--from, --to)
    python benchmarks/first_card.py --table OUT                 the figures of several calls as tables
    python benchmarks/first_card.py --out OUT --tiny            a trial on a CPU, with made-up text

    1  why the step of a 0.3M model is slow: rates, host and device, kernels, idle share; before and after   125 s
    2  right: the card against the CPU, a repeat, a stop with resume                                          70 s
    3  the 120M shape beside what the card does at best                                                       90 s
    4  a proxy of 0.3M parameters chooses for main models of 10M: DoReMi, natural, uniform, three seeds      345 s

Where a command may take ten minutes at most, give --to 2 first, then --from 3. TEXT is a folder with a folder of text
for each domain. OUT holds log.txt and figures.jsonl, written line by line, and of step 4 study.txt and study.tar.gz.
FOLDER may also hold figures.jsonl and compiled.tar.gz of an earlier call: step 4 then knows the rate that step 1 has
measured, and less is compiled. The program needs nothing but Python itself, and what it starts needs torch.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from card.commands import Place, end_all
from card.notes import Notes, figures_in
from card.pack import keep_compiled, made_up, pack, prepare, unpack
from card.refused import Refused, done
from card.right import right
from card.speed import large, small
from card.table import table
from card.thirty import thirty

TREE = Path(__file__).resolve().parents[1]
BOXES = {1: 125.0, 2: 70.0, 3: 90.0, 4: 345.0}  # seconds
TINY_BOX = 1000.0
READY_SECONDS = 300.0  # to load everything once, and to compute something on the card


def rate_of_mains(*folders: Path) -> float | None:
    """Tokens a second of the 10M model, as step 1 has measured it."""
    found = [f["value"] for folder in folders for f in figures_in(folder) if f.get("case") == "10m"]
    return float(str(found[-1])) if found else None


def steps_of(notes: Notes, place: Place, arguments: argparse.Namespace) -> dict[int, Callable[[float], None]]:
    """Each step, called with the seconds that it has."""
    tiny, out = arguments.tiny, arguments.out
    return {
        1: lambda seconds: small(notes, place, seconds, tiny=tiny),
        2: lambda seconds: right(notes, place, seconds, tiny=tiny),
        3: lambda seconds: large(notes, place, seconds, tiny=tiny),
        4: lambda seconds: thirty(notes, place, out, seconds, tiny=tiny, rate=rates(arguments)),
    }


def rates(arguments: argparse.Namespace) -> float | None:
    return rate_of_mains(*([arguments.data] if arguments.data else []), arguments.out)


def measure(arguments: argparse.Namespace) -> int:
    """Do the steps asked for; 1 where one of them broke. `Refused` where none can be done here."""
    notes = Notes(arguments.out)
    deadline = time.monotonic() + 60 * arguments.minutes
    with tempfile.TemporaryDirectory() as folder:
        place = place_of(notes, arguments, Path(folder))
        try:
            broken = measured(notes, place, arguments, deadline)
        except KeyboardInterrupt:
            notes.say("== cut")
            raise
        finally:
            end_all()
            keep_compiled(place.data, arguments.out)
    notes.say("== end")
    print(table(arguments.out))
    notes.close()
    return broken


def place_of(notes: Notes, arguments: argparse.Namespace, work: Path) -> Place:
    """Where things are, once all is there that measuring needs; `Refused` where it is not."""
    try:
        place = Place(TREE, data_of(arguments, work), work)
        notes.say("unpacked")
        introduce(notes, place, tiny=arguments.tiny)
    except Refused as error:
        notes.say(f"refused: {error}")
        raise
    return place


def data_of(arguments: argparse.Namespace, work: Path) -> Path:
    """The folder with what was packed; in a trial without, a made-up corpus alone."""
    if arguments.data is not None:
        return unpack(arguments.data, work)
    data = work / "data"
    prepare(TREE, made_up(work / "text"), work, vocabulary=512, length=32).rename(made(data) / "corpus")
    return data


def introduce(notes: Notes, place: Place, *, tiny: bool) -> None:
    """Say what this machine is; `Refused` where nothing can be measured on it."""
    words = [sys.executable, str(Path(__file__).parent / "card" / "ready.py"), *(["cpu"] if tiny else [])]
    about = json.loads(done("this machine", words, env=place.environment(), timeout=READY_SECONDS).splitlines()[-1])
    notes.card = about.get("card", notes.card)
    notes.say(", ".join(f"{name} {value}" for name, value in {"card": notes.card, **about}.items()))


def measured(notes: Notes, place: Place, arguments: argparse.Namespace, deadline: float) -> int:
    """The steps, one after another; 1 where one of them broke."""
    broken = 0
    for number, step in steps_of(notes, place, arguments).items():
        if not arguments.first <= number <= arguments.last:
            continue
        notes.step = str(number)
        seconds = min(TINY_BOX if arguments.tiny else BOXES[number], deadline - time.monotonic())
        notes.say(f"== step {number}: {seconds:.0f} s")
        if seconds < 10:
            notes.say("not begun: no time is left")
            continue
        try:
            step(seconds)
        except Exception:  # the next step may still be of use
            broken = 1
            notes.say(f"BROKEN step {number}:\n{traceback.format_exc()}")
    return broken


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with a command."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}\n")


def parser() -> Parser:
    made = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--out", type=Path, help="folder for what is found")
    made.add_argument("--data", type=Path, help="what --pack has made")
    made.add_argument("--pack", type=Path, help="folder to pack into")
    made.add_argument("--text", type=Path, help="with --pack: a folder with a folder of text for each domain")
    made.add_argument("--table", type=Path, help="print the figures below this folder as Markdown")
    steps = {"type": int, "metavar": "STEP", "choices": sorted(BOXES)}
    made.add_argument("--from", default=1, dest="first", help="first step (default 1)", **steps)
    made.add_argument("--to", default=4, dest="last", help="last step (default 4)", **steps)
    made.add_argument("--minutes", type=float, default=60.0, help="after which no step goes on (default 60)")
    made.add_argument("--tiny", action="store_true", help="tiny models: runs to its end on a CPU and means nothing")
    return made


def main() -> int:
    parsing = parser()
    arguments = parsing.parse_args()
    if arguments.table is not None:
        print(table(arguments.table))
        return 0
    if arguments.pack is not None:
        if arguments.text is None:
            parsing.error("--pack needs --text")
        pack(TREE, arguments.pack, arguments.text)
        return 0
    if arguments.out is None or (arguments.data is None and not arguments.tiny):
        parsing.error("give --out and --data, or --pack, or --table (--tiny needs no --data)")
    if arguments.first > arguments.last:
        parsing.error(f"--from {arguments.first} comes after --to {arguments.last}")
    return measure(arguments)


def refuse(why: str) -> int:
    print(f"error: {why}", file=sys.stderr)
    return 2


def interrupted(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGHUP):  # as whoever presses Ctrl-C
        signal.signal(number, interrupted)
    try:
        sys.exit(main())
    except OSError as error:
        sys.exit(refuse(f"{error.filename}: {error.strerror}" if error.filename else str(error)))
    except Refused as error:
        sys.exit(refuse(str(error)))
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):
            print("cut: what was measured is kept", file=sys.stderr)
        sys.exit(130)
