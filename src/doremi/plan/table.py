"""A plan in words: tables of ASCII that say what is exact, what was measured and what is an estimate."""

from __future__ import annotations

import torch

from doremi.diagnostics.few_tokens import in_digits
from doremi.files import size_in_words
from doremi.plan.device import lines
from doremi.plan.plan import Plan, epochs
from doremi.plan.savings import savings
from doremi.plan.stages import SEARCH, Stage

HOUR, DAY = 3600.0, 86400.0
UNKNOWN = "-"


def text(plan: Plan) -> str:
    """All that `doremi plan` prints."""
    parts = [_head(plan), _stages(plan), *_held(plan), _noise(plan), _final(plan), _epochs(plan), _cheaper(plan)]
    return "\n\n".join([*parts, "\n".join(f"note: {note}" for note in plan.notes)])


def duration(seconds: float | None) -> str:
    """Readable: 12.3 s, 4.5 min, 6.7 h or 8.9 days."""
    if seconds is None:
        return UNKNOWN
    for unit, name in ((DAY, "days"), (HOUR, "h"), (60.0, "min")):
        if seconds >= unit * (2 if unit > 60 else 1.5):
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.1f} s"


def size(number: int | None) -> str:
    """Bytes in words."""
    return UNKNOWN if number is None else size_in_words(number)


def _head(plan: Plan) -> str:
    config, settings, device, whole = plan.config, plan.settings, plan.device, plan.corpus
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {settings.threads} threads"
    tokens = sum(whole.count("train", "tokens"))
    corpus = f"about {tokens:,} training tokens (estimated)" if plan.preparation else f"{tokens:,} training tokens"
    if whole.kept is not None:
        kept = sum(whole.kept.count("train", "tokens"))
        corpus += f" ({'about ' if plan.estimated else ''}{kept:,} of them are trained on, to match epochs)"
    true = sum(whole.true_tokens())
    if true != tokens:
        corpus += f" of {'' if all(size.exact for size in whole.sizes.values()) else 'about '}{true:,}"
    return "\n".join(
        [
            f"plan of {config.root} on this device ({name}, {settings.precision}"
            f"{', compiled' if settings.compile else ''}, {_at_once(plan)})",
            f"corpus: {len(config.domains)} domains, {corpus}, a vocabulary of {plan.vocab_size:,}",
            f"each training: {settings.steps:,} steps x {settings.batch_size} sequences x "
            f"{config.data.sequence_length} tokens = {config.run_tokens:,} tokens, {_each(plan)}",
        ]
    )


def _each(plan: Plan) -> str:
    """Tokens a body parameter, of every size that is trained."""
    bodies = {stage.size: stage.body for stage in plan.stages}
    return ", ".join(
        f"{in_digits(plan.config.run_tokens / n)} a body parameter of {size}" for size, n in bodies.items()
    )


def _at_once(plan: Plan) -> str:
    return "one training at a time" if plan.at_once == 1 else f"{plan.at_once} trainings at once"


def _stages(plan: Plan) -> str:
    about = "~" if plan.estimated else ""
    rows: list[tuple[str, ...]] = [
        ("stage", "trainings", "body", "parameters", "tokens", "operations", "time", "memory", "disk")
    ]
    if plan.loading is not None:
        rows.append(("start", "", "", "", "", "", duration(plan.loading), "", ""))
    rows.append(_preparation(plan, about))
    rows += [_row(plan, stage, about) for stage in plan.stages]
    rows.append(_sum("all", plan, plan.disk, about))
    if plan.done:
        rest = plan.rest()
        rows.append(_sum("left", rest, sum(stage.disk for stage in rest.stages), about))
    kind = "of the GPU" if plan.device.type == "cuda" else "of the process"
    legend = [
        f"memory is the peak {kind}, and the disk holds at most {about}{size(plan.most_disk)} at any time",
        "body: parameters without embeddings",
        "tokens and parameters are exact, operations and disk "
        + ("(~) are estimates until the corpus is prepared, " if plan.estimated else "are exact, ")
        + f"and {plan.how}",
    ]
    if plan.done:
        legend.append(f"done: {_done(plan)}. What has only begun is left as a whole")
    return "\n".join([*_columns(rows), *legend])


def _held(plan: Plan) -> list[str]:
    """What each device must hold, also where that was more than could be tried here."""
    found = lines(plan.config, plan.graph)
    return ["\n".join(["each training holds, by arithmetic:", *(f"  {line}" for line in found)])] if found else []


def _sum(name: str, plan: Plan, disk: int, about: str) -> tuple[str, ...]:
    """All stages together."""
    return (
        name, str(sum(s.trainings for s in plan.stages)), "", "", f"{sum(s.tokens for s in plan.stages):,}",
        f"{about}{plan.operations:.4e}", about + duration(plan.total_seconds()), size(plan.total_memory()),
        about + size(disk),
    )  # fmt: skip


def _done(plan: Plan) -> str:
    """How many of each stage are finished."""
    parts = [(stage.number - len(stage.left), stage) for stage in plan.stages]
    return ", ".join(f"{stage.name} {done} of {stage.number}" for done, stage in parts if done)


def _preparation(plan: Plan, about: str) -> tuple[str, ...]:
    found = plan.preparation
    time = about + duration(found["seconds"]) if found else "done"
    return (
        "prepare",
        "",
        "",
        "",
        "",
        "",
        time,
        size(found["memory"]) if found else "",
        about + size(plan.corpus_bytes),
    )


def _row(plan: Plan, stage: Stage, about: str) -> tuple[str, ...]:
    return (
        stage.name, str(stage.number), f"{stage.body:,}", f"{stage.parameters:,}", f"{stage.tokens:,}",
        f"{about}{stage.operations:.4e}", about + duration(plan.seconds(stage)),
        size(plan.memory(stage)), about + size(stage.disk),
    )  # fmt: skip


def _columns(rows: list[tuple[str, ...]]) -> list[str]:
    """The first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def _noise(plan: Plan) -> str:
    """What the noise means, once it was measured."""
    if plan.noise is None:
        return "noise: not known yet. After two seeds, `doremi run` says how many seeds it takes to prove 1 %"
    told, seeds = plan.noise
    return f"noise, by {seeds} seeds: {told.words(seeds, plan.one_seed())} {told.longer_words()}"


def _final(plan: Plan) -> str:
    search = sum(stage.operations for stage in plan.stages if stage.role in SEARCH)
    return (
        f"final run: {plan.final_size} on {plan.config.budget:,} tokens, "
        f"{plan.final_operations:.4e} operations. The search costs {_share(search / plan.final_operations)} of it, "
        f"with all candidates {_share(plan.operations / plan.final_operations)}"
    )


def _share(value: float) -> str:
    return f"{100 * value:.3g} %" if value < 10 else f"{value:,.0f} times that"


def _epochs(plan: Plan) -> str:
    corpus, found = plan.corpus, epochs(plan)
    rows: list[tuple[str, ...]] = [("epochs at the budget", "tokens", *found)]
    for i, name in enumerate(corpus.domains):
        size = corpus.sizes[name]
        about = "~" if plan.preparation or not size.exact else ""
        rows.append((name, f"{about}{size.train:,}", *(f"{about}{passes[i]:.3g}" for passes in found.values())))
    return "\n".join(_columns(rows))


def _cheaper(plan: Plan) -> str:
    found = savings(plan)
    if not found:
        return "cheaper: no simple change was found"
    whole = "what is left" if plan.done else "all"
    lines = [f"cheaper, one change at a time (share of {whole} that is saved):"]
    for saving in found:
        words = " ".join(f"--set {word}" for word in saving.change.split())
        time = "" if saving.seconds is None else f", {100 * saving.seconds:.0f} % of the time"
        lines.append(f"  {words}: {100 * saving.operations:.0f} % of the operations{time} ({saving.what})")
    return "\n".join(lines)
