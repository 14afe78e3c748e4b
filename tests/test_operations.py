"""Operations: the counts of two architectures by hand."""

from __future__ import annotations

import pytest

from doremi.model.operations import of_model
from doremi.model.presets import shape

VOCAB, LENGTH = 2048, 128


def by_hand(width: int, layers: int, block: int) -> int:
    """Forward operations a sequence: matrices of a block, attention's two products, the head."""
    products = layers * block + VOCAB * width
    return 2 * LENGTH * products + layers * 4 * LENGTH * LENGTH * width


@pytest.mark.parametrize(
    ("preset", "width", "layers", "block"),
    [
        ("0.1m", 64, 2, 4 * 64 * 64 + 3 * 64 * 176),  # Llama: gate, up and down
        ("70m", 256, 3, 4 * 256 * 256 + 2 * 256 * 1024),  # GPT-2: up and down
    ],
)
def test_operations_are_those_of_the_matrix_products(preset: str, width: int, layers: int, block: int) -> None:
    found = of_model(shape(preset, None, {}), VOCAB, LENGTH)
    assert found.forward == by_hand(width, layers, block)
    assert found.training == 3 * found.forward


def test_models_too_large_for_this_machine_are_counted() -> None:
    assert of_model(shape("8b", None, {}), 256_000, 1024).forward == pytest.approx(2 * 9.6e9 * 1024, rel=0.1)
