"""Preparation against the tokenizer library's own batch encoding, and its memory on a domain of 1 GiB.

    python benchmarks/prepare.py             time: ratios on one and on two cores, interleaved, medians; the same
                                             text in shards, by one process and by two
    python benchmarks/prepare.py --memory    peak memory of all processes while 1 GiB is prepared (some minutes)

The text is Python's own library source, which every machine has, one file a document; `prepare` reads it as JSON
lines, tokenises, hashes and writes it, the raw side only encodes the same documents from memory, in batches.
Wall-clock ratios mean something on an idle machine only; the CPU columns hold on a busy one too.
doremi is imported where it is used: worker processes import this file again, as they would import doremi's command.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import resource
import statistics
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from figures import figure, ratio

if TYPE_CHECKING:
    from doremi.corpus.parts import PrepareRequest

NAMES = ("raw 1", "prepare 1", "shards 1", "raw 2", "prepare 2", "shards 2")
PARTS = 8  # shards that the text is cut into
BATCH = 64  # documents that the raw side hands over at a time
GIB = 1 << 30
Seconds = tuple[float, float]  # wall clock, CPU of all threads and processes


def main() -> None:
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.memory:
            _memory(Path(folder), arguments.gigabytes)
        else:
            _speed(Path(folder), arguments.megabytes, arguments.rounds)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=16.0, help="text to encode in a run (default 16)")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds; medians are shown (default 5)")
    parser.add_argument("--memory", action="store_true", help="measure memory instead of time")
    parser.add_argument("--gigabytes", type=float, default=1.0, help="size of the domain of --memory (default 1)")
    return parser.parse_args()


# -- time ------------------------------------------------------------------------------------------------------------


def _speed(folder: Path, megabytes: float, rounds: int) -> None:
    from doremi.corpus.tokenizer import train_tokenizer

    texts = _library_texts(int(megabytes * 1e6))
    (folder / "train.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (folder / "validation.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
    tokenizer = train_tokenizer((text[:2000] for text in texts), 8192)
    tokenizer.save(folder / "tokenizer")
    taken: dict[str, list[Seconds]] = {name: [] for name in NAMES}
    for _ in range(rounds):
        for cores in (1, 2):
            taken[f"raw {cores}"].append(_elsewhere(_raw, folder, cores))
            taken[f"prepare {cores}"].append(_elsewhere(_prepare, folder, cores))
            taken[f"shards {cores}"].append(_shards(folder, cores))
    size = sum(len(text.encode()) for text in texts) / 1e6
    print(f"{size:.1f} MB in {len(texts)} documents, medians of {rounds} rounds")
    for name, runs in taken.items():
        middle, used = (statistics.median(column) for column in zip(*runs, strict=True))
        label = f"{name:>10} core{'s' * (name[-1] != '1')}"
        cpu_words = f"  {used:7.2f} CPU s" if used else ""  # of processes that live on it is not known
        print(f"{label}: {middle:7.2f} s  {size / middle:6.2f} MB/s{cpu_words}")
    wall, cpu = ({name: [run[column] for run in runs] for name, runs in taken.items()} for column in (0, 1))
    _show("prepare_over_tokenizers", wall, "prepare 1", "raw 1")
    _show("prepare_over_tokenizers_two_cores", wall, "prepare 2", "raw 2")
    _show("prepare_over_tokenizers_cpu", cpu, "prepare 2", "raw 2")
    scaling = {"one core": [seconds / 2 for seconds in wall["prepare 1"]], "two cores": wall["prepare 2"]}
    _show("prepare_scaling_two_cores", scaling, "one core", "two cores")
    shards = {cores: [run[0] for run in taken[f"shards {cores}"]] for cores in (1, 2)}
    scaling = {"one core": [seconds / 2 for seconds in shards[1]], "two cores": shards[2]}
    _show("prepare_shards_scaling_two_cores", scaling, "one core", "two cores")


def _show(name: str, seconds: dict[str, list[float]], above: str, below: str) -> None:
    middle, low, high = ratio(seconds, above, below)
    figure(name, middle, "ratio", low=round(low, 3), high=round(high, 3))


def _library_texts(size: int) -> list[str]:
    """Sources of the standard library up to `size` bytes, again and again where there are fewer."""
    files = sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py"))
    found = [text for file in files if (text := file.read_text(encoding="utf-8", errors="replace")).strip("\0 \n")]
    found = [text for text in found if "\0" not in text and "\ufffd" not in text]
    texts: list[str] = []
    done = 0
    for round_ in range(1 + size // sum(map(len, found))):
        for text in found:
            if done >= size:
                return texts
            texts.append(f"# {round_}\n{text}" if round_ else text)
            done += len(texts[-1].encode())
    return texts


def _elsewhere(run: Callable[[Path, int], Seconds], folder: Path, cores: int) -> Seconds:
    """In a process of its own: the library fixes its number of threads at its first use, and encodes more slowly in a
    process that has loaded a tokenizer before (by half, here).
    """
    os.environ["RAYON_NUM_THREADS"] = str(cores)
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if cores > 1 else "false"
    try:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            return pool.submit(run, folder, cores).result()
    finally:
        del os.environ["RAYON_NUM_THREADS"], os.environ["TOKENIZERS_PARALLELISM"]


def _raw(folder: Path, _: int) -> Seconds:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer" / "tokenizer.json"))
    texts = [json.loads(line)["text"] for line in (folder / "train.jsonl").open()]
    wall, cpu = time.perf_counter(), time.process_time()
    for start in range(0, len(texts), BATCH):
        tokenizer.encode_batch_fast(texts[start : start + BATCH], add_special_tokens=False)
    return time.perf_counter() - wall, time.process_time() - cpu


def _prepare(folder: Path, workers: int) -> Seconds:
    from doremi.corpus.prepare import prepare

    request = _request(folder, workers)
    wall, cpu = time.perf_counter(), _cpu()
    with tempfile.TemporaryDirectory(dir=folder) as corpus:
        prepare(request, Path(corpus))
        return time.perf_counter() - wall, _cpu() - cpu


def _shards(folder: Path, cores: int) -> Seconds:
    """All shards by as many processes, which have loaded what they need, and what puts them together."""
    from doremi.corpus.prepare import begin_shards, complete, work_for
    from doremi.corpus.shards import cut

    cut.SHARD_BYTES = -(-(folder / "train.jsonl").stat().st_size // PARTS)
    request = _request(folder, 1)
    with (
        tempfile.TemporaryDirectory(dir=folder) as corpus,
        work_for(request, Path(corpus)) as work,
        ProcessPoolExecutor(cores, multiprocessing.get_context("spawn")) as pool,
    ):
        layout = begin_shards(work)
        list(pool.map(_few_shards, [folder] * cores, [Path(corpus)] * cores, [()] * cores))
        names = [shard.name for shard in layout.shards]
        wall = time.perf_counter()
        list(pool.map(_few_shards, [folder] * cores, [Path(corpus)] * cores, [names[i::cores] for i in range(cores)]))
        complete(work, layout)
        return time.perf_counter() - wall, 0.0


def _few_shards(folder: Path, corpus: Path, names: Sequence[str]) -> None:
    from doremi.corpus.prepare import begin_shards, work_for
    from doremi.corpus.shards.write import Desk

    with work_for(_request(folder, 1), corpus) as work:
        layout = begin_shards(work)
        desk = Desk(layout, work)
        for shard in layout.shards:
            if shard.name in names:
                desk.write(shard)


def _request(folder: Path, workers: int) -> PrepareRequest:
    from doremi.corpus.parts import PrepareRequest
    from doremi.corpus.sources import DomainSource

    source = DomainSource([str(folder / "train.jsonl")], [str(folder / "validation.jsonl")])
    return PrepareRequest(
        {"library": source},
        sequence_length=256,
        tokenizer=str(folder / "tokenizer" / "tokenizer.json"),
        workers=workers,
    )


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


# -- memory ----------------------------------------------------------------------------------------------------------


def _memory(folder: Path, gigabytes: float) -> None:
    """All that one domain needs, tokenizer training included, with all cores."""
    size = _write_domain(folder / "big.jsonl", int(gigabytes * GIB))
    process = multiprocessing.get_context("spawn").Process(target=_prepare_big, args=(folder,))
    start = time.perf_counter()
    process.start()
    peak = 0
    while process.is_alive():
        peak = max(peak, sum(_resident(pid) for pid in _tree(os.getpid()) if pid != os.getpid()))
        process.join(0.2)
    seconds = time.perf_counter() - start
    print(f"{size / GIB:.2f} GiB of text in {seconds:.0f} s, exit code {process.exitcode}")
    figure("prepare_peak_memory", peak / GIB, "GiB")


def _prepare_big(folder: Path) -> None:
    from doremi.corpus.parts import PrepareRequest
    from doremi.corpus.prepare import prepare
    from doremi.corpus.sources import DomainSource

    prepare(PrepareRequest({"big": DomainSource([str(folder / "big.jsonl")])}, sequence_length=1024), folder / "corpus")


def _write_domain(path: Path, size: int) -> int:
    """Made-up words as common as in real text, in documents from a few words to some megabytes."""
    done = 0
    with path.open("w") as file:
        for text in _made_up_documents(random.Random(0)):
            file.write(json.dumps({"text": text}) + "\n")
            done += len(text)
            if done >= size:
                return done
    return done


def _made_up_documents(rng: random.Random) -> Iterator[str]:
    letters = "eeeettaaoinshrdlucmfwypvbgkjqxz"
    words = ["".join(rng.choices(letters, k=rng.randint(1, 10))) for _ in range(5_000)]
    shares = [1 / (rank + 3) for rank in range(len(words))]
    stock = rng.choices(words, shares, k=2_000_000)
    while True:
        length = min(500_000, int(rng.lognormvariate(6.0, 1.6)) + 1)
        start = rng.randrange(len(stock) - length)
        yield " ".join(stock[start : start + length]).capitalize() + "."


def _tree(root: int) -> list[int]:
    """`root` and all processes below it."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def _resident(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * resource.getpagesize()


if __name__ == "__main__":
    main()
