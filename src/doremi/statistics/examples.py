"""Few-shot tasks: examples take the place of documents, and points that of relative differences.

Examples can agree in all seeds. Then neither seeds nor documents show any variance, which would make certain what two
coins make too. So a p-value is never below that of the sign test on the examples that the two candidates differ in.

Shapes: S seeds, N examples of all tasks together.
"""

from __future__ import annotations

import numpy as np
from scipy import special

from doremi.statistics.values import Outcome


def sign_test(difference_N: np.ndarray) -> float:
    """Two-sided p-value that as many examples as these go one way; examples without a difference do not count."""
    better, worse = int((difference_N < 0).sum()), int((difference_N > 0).sum())
    most, count = max(better, worse), better + worse
    return min(1.0, 2 * float(special.bdtrc(most - 1, count, 0.5))) if count else 1.0


def guarded(p_two_sided: float, difference_SN: np.ndarray) -> float:
    """The larger of a p-value and the sign test's, `difference_SN` being one candidate's costs less the other's."""
    return max(p_two_sided, sign_test(difference_SN.mean(axis=0)))


def outcome_in_points(difference: float, half: float, p_two_sided: float, error: float, margin: float) -> Outcome:
    """`margin` in points of the metric itself: 0.3 % and 0.1 % accuracy do not differ by two thirds of anything.

    A sign that is known comes before a tie, however small the difference.
    """
    if not np.isfinite(half):
        return "undecided"
    if p_two_sided <= error:
        return "win" if difference < 0 else "loss"
    return "tie" if abs(difference) + half <= margin else "undecided"
