"""The loop over a run's nodes: plan, start what is ready while there are places, wait for one to end, plan again.

A node that fails keeps nothing waiting but what needs it: the others go on, and the failure is told at the end. What
ends everything is a disk or a system that refuses (an `OSError`), a lost process of several that train together, and a
mistake of ours.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Set
from dataclasses import dataclass, field, replace

from doremi.config import TrainingConfig
from doremi.corpus.shards.layout import Layout
from doremi.corpus.value import Corpus
from doremi.errors import DoremiError, Interrupted, RunError
from doremi.events.event import Dropped, Event, Failed, Reading, Stepped, Stopped, Whole
from doremi.events.stream import Watch
from doremi.methods import by_mixture
from doremi.pipeline.counting import count_models
from doremi.pipeline.executor import Ended, Executor, Executors, Task
from doremi.pipeline.first_seeds import noise_words
from doremi.pipeline.look import look
from doremi.pipeline.order_cost import with_order_cost
from doremi.pipeline.pace import Pace
from doremi.pipeline.preparing import Share, prepare
from doremi.pipeline.shards import how_long, places_for
from doremi.pipeline.work import do, plan_now
from doremi.pipeline.workspace import Workspace, this_machine
from doremi.rundir.at_once import Settled, settled
from doremi.rundir.context import Context
from doremi.rundir.graph import Graph, graph
from doremi.rundir.layout import TrainingFolder
from doremi.rundir.machine import Host
from doremi.rundir.node import Node
from doremi.rundir.outgrown import in_words, outgrown
from doremi.rundir.preparing import shards_of
from doremi.rundir.schedule import Left
from doremi.rundir.specs import MixtureSpec, ShardSpec, TrainingSpec
from doremi.rundir.yardstick import remarks
from doremi.trackers import without

Wanted = Callable[[Node], bool]
TELL_EVERY_SECONDS = 5.0
SHARDS = "shards"
MOST_LINES = 20  # of failed jobs that are named: of a thousand shards all may fail alike


def everything(node: Node) -> bool:
    """All but the verdict, which follows when the rest is done."""
    return node.kind != "verdict"


def drive(space: Workspace, executors: Executors, wanted: Wanted = everything, *, told: bool = False) -> Graph:
    """Prepare the corpus, then do all nodes that are wanted and can be done; the last plan.

    `told`: what is to be known of the run has been said before. `Interrupted` where somebody has asked to stop.
    """
    pace = Pace()
    watch = Followed(space.watch, pace)
    space = replace(space, watch=watch)
    host = executors.host(space)
    corpus = prepare(space, share=shared_out(space, executors, lambda: host))
    at_once = settle(space, corpus, host)
    plan = plan_now(space, corpus)
    if not told:
        _tell(space, corpus, plan)
    with executors.open(space, corpus, at_once) as executor:
        driver = Driver(space, corpus, plan, wanted, executor, pace, lambda: plan_now(space, corpus), watch.dropped)
        watch.tell = driver.tell
        return driver.run()


def shared_out(space: Workspace, executors: Executors, host: Callable[[], Host]) -> Share | None:
    """How the shards of a large corpus are done: as many at once as there are cores, each in a process of its own.

    None where processes train together: the main one prepares the corpus.
    """
    if space.world.size > 1:
        return None

    def share(layout: Layout) -> None:
        known = replace(look(space.config, space.directory, None), shards=shards_of(layout))
        most = host().cores
        cores = min(most, space.config.data.workers or most)
        others = space.config.executor != "local"  # then nothing is to be encoded here

        def again() -> Graph:
            nonlocal known
            known = replace(known, shards=shards_of(layout, known.shards))
            if (found := known.shards) is not None:
                space.watch.emit(Reading(SHARDS, found.words(), found.bytes_done, found.bytes))
            return graph(space.config, known, by_mixture())

        plan = graph(space.config, known, by_mixture())
        left = [one.bytes for node in plan.nodes if isinstance(one := node.spec, ShardSpec) and not plan.done(node)]
        if not left:
            return
        places = min(cores, len(left)) if others else places_for(left, cores)
        if (words := how_long(layout, places)) is not None:
            space.watch.say(words)
        if places > 1 or others:
            with space.timed(SHARDS), executors.open(space, None, places) as executor:
                Driver(space, None, plan, is_shard, executor, Pace(), again).run()

    return share


def is_shard(node: Node) -> bool:
    """Whether it is a part of the corpus."""
    return node.kind == "shard"


def settle(space: Workspace, corpus: Corpus, host: Host) -> int:
    """How many trainings go on at once; the threads of each are recorded until the first of them has begun.

    Who joins a run keeps to what is recorded. Processes that train together (`torchrun`) do one after another.
    """
    count_models(space, corpus)
    known = look(space.config, space.directory, corpus)
    stays = known.machine is not None and bool(known.trained or known.begun or space.joins)
    machine = known.machine if known.machine is not None and stays else this_machine(space.world)
    space.world.barrier()  # all have looked before anything is written
    found = Settled(1, machine)
    if space.world.size == 1:
        known = replace(known, machine=machine)
        found = settled(space.config, known, host, by_mixture(), threads_stay=stays)
        if found.warning is not None:
            space.watch.say(f"warning: {found.warning}")

    def record() -> None:
        space.record_machine(found.machine if stays else with_order_cost(space, corpus, known, found.machine))

    space.world.on_main(record)
    return found.at_once


def complete(plan: Graph, wanted: Wanted = everything) -> None:
    """`RunError` that says what something wanted still waits for."""
    for node in plan.nodes:
        if wanted(node) and not plan.done(node) and not (node.optional and node.spec is None):
            left = plan.unfinished(node)
            why = f"waits for {left[0]}" if left else node.waits
            raise RunError(f"{node.id} {why}. `doremi jobs` shows what is done and what waits")


def _tell(space: Workspace, corpus: Corpus, plan: Graph) -> None:
    """What is to be known of a run before it goes on."""
    _say_what_stays(space, plan)
    for remark in remarks(space.config, plan):
        space.watch.say(remark)
    if (warning := in_words(outgrown(corpus, plan, space.config.kept_share))) is not None:
        space.watch.say(f"warning: {warning}")


def _say_what_stays(space: Workspace, plan: Graph) -> None:
    """Finished trainings that this configuration does without are kept, and nobody should wonder about them."""
    mine = {node.spec.key for node in plan.nodes if isinstance(node.spec, TrainingSpec)}
    others = [key for key in plan.known.trained if key not in mine]
    if others and mine:
        number = f"{len(others)} finished {'training' if len(others) == 1 else 'trainings'}"
        space.watch.say(f"{number} of other settings stay here unused; `doremi clean {space.root}` lists them")


@dataclass
class Followed(Watch):
    """A watch whose events a pace hears as well. With each step it may be told how far the whole is.

    A training in this very process lets nobody else speak until it has ended. Each training has trackers of its own,
    and one that fails in a training is told of once in the run.
    """

    watch: Watch
    pace: Pace
    tell: Callable[[], None] = lambda: None
    dropped: set[str] = field(default_factory=set)
    """Names of listeners that have failed."""

    def emit(self, event: Event) -> None:
        if isinstance(event, Dropped):
            if event.listener in self.dropped:
                return
            self.dropped.add(event.listener)
        self.pace.hear(event)
        self.watch.emit(event)
        if isinstance(event, Stepped):
            self.tell()

    def stop_requested(self) -> bool:
        return self.watch.stop_requested()


@dataclass
class Driver:
    """Does all nodes of a run that are wanted and can be done."""

    space: Workspace
    corpus: Corpus | None
    """None while its shards are done."""
    plan: Graph
    wanted: Wanted
    executor: Executor
    pace: Pace
    again: Callable[[], Graph]
    """The plan as the disk is now."""
    dropped: Set[str] = frozenset()
    """Trackers that have failed, by their own names: trainings that begin later go without."""
    running: dict[str, Node] = field(default_factory=dict)
    """By key."""
    failed: dict[str, Ended] = field(default_factory=dict)
    """By key."""
    lost: dict[str, int] = field(default_factory=dict)
    """By key, the saved step of a training when its process was last lost."""
    told: float = 0.0
    told_noise: bool = False

    def run(self) -> Graph:
        """The last plan; `Interrupted` where somebody has asked to stop, else the error of what failed."""
        while True:
            if self.space.world.any(self.space.watch.stop_requested()):
                raise self._stopped()
            self._start()
            self.tell()
            if not self.running:
                break
            if ended := self.executor.wait():
                for one in ended:
                    self._end(one)
                self.plan = self.again()
                self._tell_noise()
        if self.failed:
            raise _failure(list(self.failed.values()))
        return self.plan

    # -- beginning -----------------------------------------------------------------------------------------------

    def _start(self) -> None:
        """Start what is ready as long as there are places, the longest way to the end first."""
        while len(self.running) < self.executor.places and (node := self._next()) is not None:
            if isinstance(node.spec, MixtureSpec):  # takes no time
                self._make(node, node.spec)
            else:
                self._hand_over(node)

    def _next(self) -> Node | None:
        """Mixtures first, for others wait for them."""
        left = Left.of(self.plan, self.wanted)
        ready = [n for n in left.nodes.values() if self.plan.ready(n) and n.spec and not self._is_taken(n.spec.key)]
        ways = left.ways(lambda node: float(node.cost.operations or 1) if node.cost else 0.0)
        return min(ready, key=lambda n: (not isinstance(n.spec, MixtureSpec), -ways[n.id], -_bytes(n)), default=None)

    def _is_taken(self, key: str) -> bool:
        return key in self.running or key in self.failed

    def _make(self, node: Node, spec: MixtureSpec) -> None:
        try:
            do(self.space, self.corpus, node, self._settings())
        except DoremiError as error:
            if self.space.world.size > 1:
                raise
            self.failed[spec.key] = Ended(node, error)
        self.plan = self.again()

    def _hand_over(self, node: Node) -> None:
        assert node.spec is not None
        self.space.status("running", node.id)
        self.running[node.spec.key] = node
        self.pace.start(node)
        trackers = without(self.space.config.trackers, self.dropped)
        self.executor.start(Task(self.space.config.model_copy(update={"trackers": trackers}), node, self._settings()))

    def _settings(self) -> TrainingConfig | None:
        return None if self.corpus is None else Context(self.space.config, self.plan.known).settings

    # -- ending --------------------------------------------------------------------------------------------------

    def _end(self, ended: Ended) -> None:
        """Note what became of a node; raises what ends everything."""
        node, error = ended.node, ended.error
        assert node.spec is not None
        del self.running[node.spec.key]
        self.pace.end(node, done=error is None and not ended.lost)
        if ended.lost:
            self._lose(ended, node.spec.key)
        elif isinstance(error, DoremiError):
            self.failed[node.spec.key] = ended
        elif error is not None and not isinstance(error, Interrupted):
            self._drain()
            if ended.trace:
                error.add_note(ended.trace)
            raise error

    def _lose(self, ended: Ended, key: str) -> None:
        """A process that ended without a word may have had bad luck: once more, as long as it gets on."""
        saved, before = self._saved_step(ended.node), self.lost.get(key)
        self.lost[key] = saved
        what = f"its process {ended.lost}"
        if before is None or saved > before:
            self.space.watch.emit(Stopped(ended.node.id))
            how = "It is done anew." if is_shard(ended.node) else "It resumes from its last checkpoint."
            self.space.watch.say(f"{ended.node.id}: {what}. {how}")
            return
        self.space.watch.emit(Failed(ended.node.id, what))
        setting = "data.workers: 1` does one shard" if is_shard(ended.node) else "workers: 1` does one training"
        more = f"Is there enough memory? `{setting} at a time"
        self.failed[key] = Ended(ended.node, RunError(f"{what}, for the second time at the same step. {more}"))

    def _saved_step(self, node: Node) -> int:
        return 0 if node.place is None else TrainingFolder(self.space.root / node.place).saved_step()

    def _stopped(self) -> Interrupted:
        """Ask all to stop, and wait until they have."""
        return self._drain() or Interrupted("stopped between two stages. Run the same command to resume.")

    def _drain(self) -> Interrupted | None:
        """What the last one said that was stopped."""
        last = None
        self.executor.stop()
        while self.running:
            for ended in self.executor.wait():
                assert ended.node.spec is not None
                self.running.pop(ended.node.spec.key, None)
                last = ended.error if isinstance(ended.error, Interrupted) else last
        return last

    # -- telling -------------------------------------------------------------------------------------------------

    def tell(self) -> None:
        """How far the whole is, now and then."""
        now = time.monotonic()
        if self.corpus is None:  # nothing is known of trainings
            return
        if now - self.told < TELL_EVERY_SECONDS and self.running:
            return
        self.told = now
        wanted = self.plan.work([n for n in self.plan.nodes if n.kind == "training" and self.wanted(n)])
        known = [n for n in wanted if not n.optional or n.spec is not None]
        left = self.pace.seconds_left(self.plan, self.wanted, self.executor.places)
        self.space.watch.emit(Whole(sum(self.plan.done(n) for n in known), len(known), left))

    def _tell_noise(self) -> None:
        """What the noise means, once, after the first seeds, while there are seeds to come."""
        if self.told_noise or self.corpus is None or not self.space.world.is_main:
            return
        words = noise_words(self.space.config, self.space.directory, self.plan.record(), self.executor.places)
        if words:
            self.told_noise = True
            self.space.watch.say(words)


def _bytes(node: Node) -> int:
    return node.spec.bytes if isinstance(node.spec, ShardSpec) else 0


def _failure(failed: list[Ended]) -> BaseException:
    """One error for all that failed, of their kind where they are of one, each with the name of its node."""
    lines = [f"{ended.node.id}: {ended.error}" for ended in failed]
    if len(lines) > 1:
        more = [f"  and {len(lines) - MOST_LINES:,} more"] * (len(lines) > MOST_LINES)
        shown = [f"  {line}" for line in lines[:MOST_LINES]]
        lines = [f"{len(failed):,} jobs failed. What does not need them is done.", *shown, *more]
    kinds = {type(ended.error) for ended in failed if isinstance(ended.error, DoremiError)}
    kind = kinds.pop() if len(kinds) == 1 else RunError
    error = kind("\n".join(lines))
    for ended in failed:
        if ended.trace:
            error.add_note(ended.trace)
    return error
