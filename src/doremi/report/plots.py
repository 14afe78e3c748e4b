"""Drawing, with matplotlib's object interface and no state: numbers and names in, `<svg>` text out.

Sizes are in CSS pixels (72 dots an inch, so that a point is a pixel). Wide pictures are drawn twice, for a screen and
for a phone, because the text in a picture that only shrinks cannot be read. Call everything inside `svg.drawing()`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from doremi.report.svg import inline, printable, tone
from doremi.report.words import NBSP, count, fixed, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDE, NARROW = 700, 340
_PANEL = (176, 104)
_LOG_RATIO = 8.0  # from here on small values would lie flat on the floor of a linear axis
_DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)), (0, (3, 3)), (0, (9, 3)), (0, (3, 1, 1, 1, 1, 1)))


@dataclass(frozen=True)
class Line:
    """One line: `x`, `y` `[points]`, NaN where there is none."""

    x: np.ndarray
    y: np.ndarray
    tone: str = "ink"
    width: float = 1.2
    opacity: float = 1.0
    dash: int = 0
    label: str = ""
    mark: tuple[float, float] | None = None  # a point on the line


@dataclass(frozen=True)
class Frame:
    """The scales that all panels of a figure share."""

    x: tuple[float, float]
    y: tuple[float, float]
    log: bool
    format: Callable[[float], str]


@dataclass(frozen=True)
class Ranges:
    """One mark a row with its interval: `middle`, `low`, `high` `[rows]`, NaN where there is none.

    `lift` is how far above its row it stands, in rows.
    """

    middle: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    tone: str
    filled: bool = True
    lift: float = 0.0


def frame(
    x: tuple[float, float], values: np.ndarray, display: Callable[[float], str], level: float = math.nan
) -> Frame:
    """Scales for `values` (any shape) and one more value `level`: from zero, or logarithmic where they differ much."""
    finite = np.append(values[np.isfinite(values)], [level] if math.isfinite(level) else [])
    positive = finite[finite > 0]
    top = float(finite.max()) if finite.size and finite.max() > 0 else 1.0
    low = max(float(positive.min()), top / 1e4) if positive.size else top
    log = top / low > _LOG_RATIO
    return Frame(x, (low / 1.15, top * 1.15) if log else (0.0, top * 1.05), log, display)


def panels(key: str, contents: Sequence[tuple[Sequence[Line], float]], scales: Frame) -> list[str]:
    """Small pictures with the same scales and no words around them; of each its lines and the height of a dotted one.

    One pair of axes is drawn again and again: making it takes as long as drawing it.
    """
    figure = _figure(*_PANEL)
    axes = _panel_axes(figure, scales)
    floor = scales.y[0] if scales.log else -math.inf
    made = []
    for at, (lines, level) in enumerate(contents):
        for line in lines:
            _draw(axes, line, floor)
        if level > 0:
            _dotted(axes.axhline, level)
        made.append(inline(figure, f"{key}-{at}"))
        for drawn in list(axes.lines):
            drawn.remove()
    return made


def _panel_axes(figure: Figure, scales: Frame) -> Axes:
    axes = figure.add_axes((38 / _PANEL[0], 17 / _PANEL[1], 1 - 44 / _PANEL[0], 1 - 22 / _PANEL[1]))
    axes.patch.set_visible(False)
    axes.set_xlim(scales.x)
    _vertical_scale(axes, scales)
    axes.set_xticks(scales.x, [f"{x:,.0f}" for x in scales.x])
    for label, side in zip(axes.get_xticklabels(), ("left", "right"), strict=True):
        label.set_horizontalalignment(side)
    axes.autoscale(False)
    return axes


def forest(
    key: str,
    title: str,
    names: Sequence[str],
    marks: Sequence[Ranges],
    display: Callable[[float], str],
    *,
    beside: Sequence[str] = (),
    margin: float = 0.0,
) -> str:
    """Rows of marks with intervals around a line at 0, the first on top, for a screen and for a phone.

    `beside` are words at the right of each row; `margin` is half of a shaded zone around 0.
    """
    return "".join(
        inline(_forest(width, names, marks, display, beside, margin), f"{key}-{width}", title)
        for width in (WIDE, NARROW)
    )


def curves(key: str, title: str, lines: Sequence[Line], gaps: Sequence[Line], baseline: float) -> str:
    """Losses over tokens above, and below them the `gaps` to the reference mixture, for a screen and for a phone."""
    return "".join(inline(_curves(w, lines, gaps, baseline), f"{key}-{w}", title) for w in (WIDE, NARROW))


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / 72, height / 72))
    figure.patch.set_visible(False)
    return figure


def _draw(axes: Axes, line: Line, floor: float = -math.inf) -> None:
    y = np.where(line.y < floor, floor, line.y)
    dash = _DASHES[line.dash % len(_DASHES)]
    axes.plot(line.x, y, color=tone(line.tone), linewidth=line.width, alpha=line.opacity, linestyle=dash)
    if line.mark is not None:
        axes.plot(*line.mark, "o", markersize=7, color=tone("paper"), markeredgecolor=tone(line.tone), zorder=5)


def _dotted(across: Callable[..., object], at: float) -> None:
    across(at, color=tone("ink"), linewidth=0.8, linestyle=(0, (1, 2)), zorder=1.5)


def _vertical_scale(axes: Axes, scales: Frame) -> None:
    low, high = scales.y
    if scales.log:
        axes.set_yscale("log")
    axes.set_ylim(low, high)
    axes.set_yticks(_ticks(low, high, scales.log))
    axes.set_yticks([], minor=True)
    axes.set_yticklabels([scales.format(y) for y in axes.get_yticks()])


def _ticks(low: float, high: float, log: bool, most: int = 4) -> list[float]:
    """At most `most` round values: powers of ten, or equal steps from zero."""
    if log:
        for steps in ((1, 2, 5), (1, 3), (1,)):
            decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            ticks = [s * 10.0**d for d in decades for s in steps if low <= s * 10.0**d <= high]
            if len(ticks) <= most:
                return ticks
        return ticks[:: math.ceil(len(ticks) / most)]
    from matplotlib.ticker import MaxNLocator

    return [float(t) for t in MaxNLocator(most - 1).tick_values(low, high) if low - 1e-12 <= t <= high]


def _forest(
    width: int,
    names: Sequence[str],
    marks: Sequence[Ranges],
    display: Callable[[float], str],
    beside: Sequence[str],
    margin: float,
) -> Figure:
    figure = _figure(width, (19 if len(marks) == 1 else 28) * len(names) + 34)
    figure.set_layout_engine("constrained", w_pad=3 / 72, h_pad=2 / 72)
    axes = figure.add_subplot()
    axes.patch.set_visible(False)
    left, right = forest_scale(marks)
    axes.set_xlim(left, right)
    if margin:
        axes.axvspan(max(-margin, left), min(margin, right), color=tone("line"), alpha=0.4, linewidth=0, zorder=0)
    axes.hlines(range(len(names)), left, right, color=tone("line"), linewidth=0.7, zorder=1)
    _dotted(axes.axvline, 0.0)
    for mark in marks:
        _ranges(axes, mark, left, right)
    _rows(axes, names, 16 if width == NARROW else 34)
    for row, words in enumerate(beside):
        axes.text(1.01, row, words, transform=axes.get_yaxis_transform(), verticalalignment="center")
    ticks = _ticks(left, right, log=False, most=4 if width == NARROW else 8)
    axes.set_xticks(ticks, [display(0.0 if abs(t) < 1e-12 else t) for t in ticks])
    return figure


def forest_scale(marks: Sequence[Ranges]) -> tuple[float, float]:
    """Ends of the scale, 0 within. One interval much wider than the rest must not press these together."""
    middle = np.array([mark.middle for mark in marks], dtype=float)
    ends = np.array([[mark.low, mark.high] for mark in marks], dtype=float)
    half = ends[:, 1] - middle
    usual = np.nanmedian(half) if np.isfinite(half).any() else 0.0
    most = 1.1 * max(np.nanmax(np.abs(middle), initial=0.0) + 2 * usual, 1e-6)
    low, high = (float(found) for found in (np.nanmin(ends, initial=0.0), np.nanmax(ends, initial=0.0)))
    low, high = min(low, float(np.nanmin(middle, initial=0.0))), max(high, float(np.nanmax(middle, initial=0.0)))
    pad = 0.04 * (high - low) or most
    return max(low - pad, -most), min(high + pad, most)


def _ranges(axes: Axes, mark: Ranges, left: float, right: float) -> None:
    """The intervals, cut off at the ends of the scale with an arrow there, and the marks."""
    ink, rows = tone(mark.tone), np.arange(len(mark.middle)) - mark.lift
    low, high = np.array(mark.low, float), np.array(mark.high, float)
    axes.hlines(rows, np.maximum(low, left), np.minimum(high, right), color=ink, linewidth=1.5, zorder=2)
    for beyond, at, shape in ((low < left, left, 4), (high > right, right, 5)):  # carets that point left and right
        axes.plot(
            np.full(int(beyond.sum()), at), rows[beyond], marker=shape, linestyle="", color=ink, markersize=6,
            clip_on=False,
        )  # fmt: skip
    face = tone(mark.tone if mark.filled else "paper")
    axes.plot(mark.middle, rows, "o", color=face, markeredgecolor=ink, markersize=6.5, zorder=4, clip_on=False)


def _rows(axes: Axes, names: Sequence[str], length: int) -> None:
    axes.set_yticks(range(len(names)), [printable(shortened(name, length)) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _curves(width: int, lines: Sequence[Line], gaps: Sequence[Line], baseline: float) -> Figure:
    figure = _figure(width, 400 if gaps else 250)
    figure.set_layout_engine("constrained", w_pad=2 / 72, h_pad=3 / 72)
    rows = figure.subplots(2 if gaps else 1, 1, sharex=True, squeeze=False)[:, 0]
    _lines(rows[0], lines, "mean loss, nats a token")
    if math.isfinite(baseline):
        _dotted(rows[0].axhline, baseline)
    if gaps:
        _lines(rows[1], gaps, "difference", from_zero=True)
        _dotted(rows[1].axhline, 0.0)
    for axes, held in zip(rows, (lines, gaps), strict=False):
        _end_labels(axes, [line for line in held if line.label])
    rows[-1].set_xlabel("training tokens")
    ticks = _ticks(*rows[-1].get_xlim(), log=False, most=4 if width == NARROW else 7)
    rows[-1].set_xticks(ticks, [count(t).replace(f".0{NBSP}", NBSP) for t in ticks])
    return figure


def _lines(axes: Axes, lines: Sequence[Line], label: str, from_zero: bool = False) -> None:
    """The lines after the first quarter, whose fall would press all that follows flat; with 0 on the scale if asked."""
    axes.patch.set_visible(False)
    for line in lines:
        _draw(axes, line)
    end = max(float(np.nanmax(line.x)) for line in lines)
    late = np.concatenate([line.y[line.x >= end / 4] for line in lines])
    late = np.append(late[np.isfinite(late)], [0.0] if from_zero else [])
    low, high = (float(late.min()), float(late.max())) if late.size else (0.0, 1.0)
    pad = 0.06 * (high - low) or 0.01
    axes.set_xlim(end / 4, end)
    axes.set_ylim(low - pad, high + pad)
    ticks = _ticks(*axes.get_ylim(), log=False, most=6)
    digits = next((d for d in range(6) if all(math.isclose(round(t, d), t, abs_tol=1e-9) for t in ticks)), 6)
    axes.set_yticks(ticks, [fixed(t, digits) for t in ticks])
    axes.set_ylabel(label)


def _end_labels(axes: Axes, lines: Sequence[Line]) -> None:
    """Names at the right ends of the lines, moved apart where they would overlap."""
    low, high = axes.get_ylim()
    ends = [float(line.y[np.isfinite(line.y)][-1]) for line in lines]
    places = _apart([(end - low) / (high - low) for end in ends], 0.085)
    for line, place in zip(lines, places, strict=True):
        axes.text(
            1.015,
            place,
            printable(shortened(line.label, 18)),
            transform=axes.transAxes,
            color=tone(line.tone),
            verticalalignment="center",
        )


def _apart(places: Sequence[float], gap: float) -> list[float]:
    """`places` moved as little as a sweep up and a sweep down need so that neighbours are `gap` apart."""
    order = np.argsort(places, kind="stable")
    moved = np.array(places, dtype=float)[order]
    for i in range(1, len(moved)):
        moved[i] = max(moved[i], moved[i - 1] + gap)
    moved -= max(0.0, moved[-1] - 1.0) if len(moved) else 0.0
    result = np.empty_like(moved)
    result[order] = moved
    return [float(x) for x in result]
