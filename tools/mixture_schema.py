"""Writes docs/mixture.schema.json, the JSON Schema of a mixture file, from the type that reads one.

python tools/mixture_schema.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from doremi.files import FORMAT
from doremi.mixture.record import UNIT, MixtureRecord

PAGE = Path(__file__).resolve().parents[1] / "docs" / "mixture.schema.json"


def schema() -> dict[str, Any]:
    """With what the reader checks beside the types: format, unit, and weights that are not negative."""
    found = MixtureRecord.model_json_schema()
    fixed = {
        "format": {"const": FORMAT},
        "unit": {"const": UNIT, "description": "The weights are fractions of tokens."},
        "weights": {
            "type": "object",
            "description": "By domain. They are divided by their sum, which is above 0.",
            "additionalProperties": {"type": "number", "minimum": 0},
            "minProperties": 1,
        },
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **found,
        "title": "A mixture of doremi",
        "description": "One mixture file. Only format, unit and weights are required. Other keys are kept.",
        "properties": {**found["properties"], **fixed},
        "required": list(fixed),
    }


def text() -> str:
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")
