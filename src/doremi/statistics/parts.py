"""A difference whose uncertainty has two parts, seeds and documents: its interval and its p-value.

Both half widths add in quadrature: h^2 = t_seeds^2 v_seeds + t_documents^2 v_documents. Given the estimates, the chance
that a normal deviate exceeds h is a convex function of the share that either part has of the whole (P(Z^2 > x) is
convex in x). At both ends it is the stated level, by the definition of t. So the level holds for any share.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from doremi.statistics import student

_HALVINGS = 50


@dataclass(frozen=True, eq=False)
class Parts:
    """Variances of a mean difference and their degrees of freedom; arrays of one shape, or what broadcasts to it.

    NaN in `documents`: the documents' part cannot be known, and counts as none. `documents` is then fixed, see
    `fixed`. NaN in `seeds` (one seed, or seeds that are all alike): nothing can be told.
    """

    seeds: np.ndarray
    seed_freedom: np.ndarray | float
    documents: np.ndarray
    document_freedom: np.ndarray | float

    def fixed(self) -> Parts:
        """The same for these very documents: how it would be for others does not count."""
        return Parts(self.seeds, self.seed_freedom, np.zeros_like(self.documents), 1.0)

    def variance(self) -> np.ndarray:
        return self.seeds + np.nan_to_num(self.documents)

    def half(self, error: float) -> np.ndarray:
        """Half of the two-sided interval that misses with a chance of `error`; NaN with one seed."""
        return self._within(student.quantile(error, self.seed_freedom), error)

    def half_at(self, multiplier: float) -> np.ndarray:
        """Half of an interval of `multiplier` standard errors of the seeds; documents at the same tail."""
        return self._within(np.asarray(multiplier), student.tail(np.asarray(multiplier), self.seed_freedom))

    def p_below(self, difference: np.ndarray) -> np.ndarray:
        """One-sided p-value of "the true difference is below 0"; 1 where nothing is known.

        difference^2 is split into a share u for the seeds and 1 - u for the documents. At the right u both parts have
        the same tail, and that is the two-sided p-value. One tail falls in u and the other rises, so bisection finds
        it. No variance at all is not certainty but ignorance: identical trainings show none.
        """
        squared = np.square(difference)
        low, high = np.zeros_like(squared), np.ones_like(squared)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            seeds, documents = self._tails(squared * middle, squared * (1 - middle))
            low, high = np.where(seeds > documents, middle, low), np.where(seeds > documents, high, middle)
        seeds, documents = self._tails(squared * high, squared * (1 - low))
        two_sided = np.where(low < 0.5, documents, seeds)  # the larger share has the more digits
        return np.where(self.variance() > 0, np.where(difference < 0, two_sided / 2, 1 - two_sided / 2), 1.0)

    def _within(self, t_seeds: np.ndarray, error: np.ndarray | float) -> np.ndarray:
        t_documents = student.quantile(error, self._document_freedom())
        return np.sqrt(t_seeds**2 * self.seeds + t_documents**2 * np.nan_to_num(self.documents))

    def _tails(self, seeds: np.ndarray, documents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Tails of the parts of difference^2 given to seeds and to documents; no part, no evidence: 1."""
        with np.errstate(divide="ignore", invalid="ignore"):  # 0 / 0 is not used; a part without variance is certain
            by_seeds = student.tail(np.sqrt(seeds / self.seeds), self.seed_freedom)
            by_documents = student.tail(np.sqrt(documents / np.nan_to_num(self.documents)), self._document_freedom())
        return np.where(seeds > 0, by_seeds, 1.0), np.where(documents > 0, by_documents, 1.0)

    def _document_freedom(self) -> np.ndarray:
        return np.where(np.isfinite(self.document_freedom), self.document_freedom, 1.0)
