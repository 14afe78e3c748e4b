"""Matplotlib figures as small inline SVG that follows the page's colours, in light, dark and print.

A figure is drawn with the stand-in colours of `TONES`; here each becomes `currentColor` or a CSS variable.
"""

from __future__ import annotations

import io
import re
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# stand-in colour -> what the page paints instead; style.css defines the variables for light and dark
TONES = {
    "ink": ("#010100", "currentColor"),
    "soft": ("#010101", "var(--soft)"),
    "line": ("#010102", "var(--line)"),
    "paper": ("#010103", "var(--paper)"),
    **{f"s{i}": (f"#01020{i}", f"var(--s{i})") for i in range(8)},
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: small, sharp, found by search, in the page's own font
    "svg.hashsalt": "doremi",
    "text.parse_math": False,  # a `$` in a domain's name is a dollar
    "font.size": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "figure.dpi": 72.0,
    "savefig.transparent": True,
    **{key: TONES["ink"][0] for key in ("text.color", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor")},
    **{key: TONES["line"][0] for key in ("axes.edgecolor", "xtick.color", "ytick.color")},
    **{key: 3.0 for key in ("xtick.major.size", "ytick.major.size", "xtick.major.pad", "ytick.major.pad")},
}
_NAMESPACE = re.compile(r"\{[^}]*\}")
_DECIMAL = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
# control characters, lone surrogates, and marks that would turn the direction of the text after them
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def printable(text: str) -> str:
    """`text` with a mark for each character that XML or UTF-8 cannot hold, or that would disturb what is around it."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def tone(name: str) -> str:
    """The stand-in colour to draw with."""
    return TONES[name][0]


@contextmanager
def drawing() -> Iterator[None]:
    """Matplotlib's own defaults and our style, whatever the user's matplotlibrc says; both are put back."""
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        # the browser draws the text: glyphs that matplotlib's font lacks cost only the exactness of the layout
        warnings.filterwarnings("ignore", message="Glyph")
        yield


def inline(figure: Figure, key: str, title: str = "") -> str:
    """The figure as an `<svg>` element; `key` makes its ids unique in the page.

    With a `title` it is an image of that name to a screen reader, without one it is hidden from it.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    root = ElementTree.fromstring(buffer.getvalue())
    used = {name for element in root.iter() for value in element.attrib.values() for name in _references(value)}
    for parent in root.iter():  # a style sheet in an inline picture would hold for the whole page
        for child in [c for c in parent if _local(c.tag) in ("metadata", "style")]:
            parent.remove(child)
    for element in root.iter():
        _tidy(element, key, used)
    _name(root, key, title)
    return ElementTree.tostring(root, encoding="unicode")


def _local(name: str) -> str:
    return _NAMESPACE.sub("", name)


def _references(value: str) -> list[str]:
    return re.findall(r"url\(#([^)]+)\)", value) or re.findall(r"^#(\w+)$", value)


def _tidy(element: ElementTree.Element, key: str, used: set[str]) -> None:
    """Local names, ids only where something refers to them, page colours, one decimal."""
    element.tag = _local(element.tag)
    element.tail = None
    attributes = {_local(name): value for name, value in element.items()}
    element.attrib.clear()
    for name, value in attributes.items():
        if (name == "id" and value not in used) or (name == "transform" and value.startswith("rotate(-0 ")):
            continue
        element.set(name, _value(name, value, key))
    if element.tag != "text":
        element.text = None


def _value(name: str, value: str, key: str) -> str:
    if name == "id":
        return f"{key}-{value}"
    if name == "style":
        return _restyled(value, key)
    if name in ("d", "x", "y", "width", "height", "transform"):
        short = _DECIMAL.sub(lambda match: f"{float(match[0]):.1f}".removesuffix(".0"), value)
        straight = name == "d" and "C" not in value  # then every pair after the first is a line to it
        return " ".join(short.replace("L", "").split() if straight else short.split())
    return _referring(value, key)


def _referring(value: str, key: str) -> str:
    return re.sub(r"^(url\()?#(?=[A-Za-z])", rf"\1#{key}-", value)


def _restyled(style: str, key: str) -> str:
    for stand_in, painted in TONES.values():
        style = style.replace(stand_in, painted)
    style = re.sub(r"; font-family:[^;]*|(?<=px)( '[^;]*)(?=;)", "", style)
    style = re.sub(r"font: (?:(\d+) )?([\d.]+px)", r"font-size: \2; font-weight: \1", style)
    return style.replace("url(#", f"url(#{key}-").replace(": ", ":").replace("; ", ";")


def _name(root: ElementTree.Element, key: str, title: str) -> None:
    _, _, width, height = root.get("viewBox", "0 0 0 0").split()
    root.attrib.update({"width": width.removesuffix(".0"), "height": height.removesuffix(".0")})
    root.attrib.pop("version", None)
    if not title:
        root.set("aria-hidden", "true")
        return
    root.attrib.update({"role": "img", "aria-labelledby": f"{key}-title"})
    element = ElementTree.Element("title", {"id": f"{key}-title"})
    element.text = printable(title)
    root.insert(0, element)
