"""Tables as text: `.csv` with commas, `.tsv` with tabs, the names of the columns in the first row.

Quotes are as spreadsheets and pandas write them. A quote out of place is refused: read leniently, it would swallow all
rows up to the next one.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator

from doremi.corpus import lines
from doremi.corpus.place import Place, not_utf8, some
from doremi.corpus.shape import MISSING, Document, Shape, lookup


def table_documents(blocks: Iterable[bytes], place: Place, shape: Shape, delimiter: str) -> Iterator[Document | None]:
    """`place` counts rows, the header not among them; empty lines are passed over."""
    csv.field_size_limit(lines.MOST_LINE_BYTES)
    at = Place(place.domain, place.file)  # lines, for their own errors
    rows = csv.reader(_decoded(lines.lines(blocks, at)), delimiter=delimiter, strict=True)
    names = _header(rows, place, shape, delimiter)
    place.unit = "row"
    while names:
        try:
            place.number += 1
            row = next(rows)
        except StopIteration:
            place.number -= 1
            return
        except csv.Error as error:
            place.refuse(
                "a broken row",
                f"cannot be read ({error}); put fields with quotes or line breaks into quotes, and double the quotes",
            )
            continue
        if not row:
            place.number -= 1
            continue
        yield _document(row, names, place, shape)


def _decoded(found: Iterable[bytes]) -> Iterator[str]:
    """Bytes that are not UTF-8 stay, and are found in the row that has them."""
    for number, line in enumerate(found):
        whole = line.removeprefix(lines.BOM) if number == 0 else line
        yield whole.decode(errors="surrogateescape") + "\n"


def _header(rows: Iterator[list[str]], place: Place, shape: Shape, delimiter: str) -> list[str]:
    try:
        names = next((row for row in rows if row), [])
    except csv.Error as error:
        raise place.error(f"its first row cannot be read ({error}); it should hold the names of the columns") from None
    given = dict.fromkeys(names, "")
    for field in shape.fields if names else ():
        if lookup(given, field) is MISSING:
            other = next((mark for mark in ";\t|," if len(names) == 1 and mark in names[0]), "")
            hint = f" (are its columns parted by {other!r}? doremi expects {delimiter!r})" if other else ""
            raise place.error(
                f"has no column {field!r}; it has {some(names)}{hint}; set text_field to the right one, or add a "
                "first row with names"
            )
        if names.count(field) > 1:
            raise place.error(f"has the column {field!r} {names.count(field)} times; rename the others")
    return names


def _document(row: list[str], names: list[str], place: Place, shape: Shape) -> Document | None:
    if len(row) != len(names):
        place.refuse(
            "another number of columns",
            f"has {len(row)} columns where the first row has {len(names)}; put texts with commas or line breaks into "
            "quotes",
        )
        return None
    try:
        "".join(row).encode(errors="surrogateescape").decode()
    except UnicodeDecodeError as wrong:
        place.refuse("not UTF-8", not_utf8(wrong))
        return None
    return shape.document(dict(zip(names, row, strict=True)), place, "column")
