"""Rule about the audit itself: whether enough of the model was seen to judge the model."""

from __future__ import annotations

import numpy as np

from firstlight.diagnosis.catalogue import verdict
from firstlight.diagnosis.verdict import Verdict
from firstlight.probe.measurement import Measurement

# Share of the used parameters' entries that rows must stand for.
COVERED = 0.9


def not_judged(measurement: Measurement, min_coverage: float = COVERED) -> tuple[Verdict, ...]:
    """One verdict ``not-judged`` with every ground for it, or none.

    Parameters
    ----------
    measurement
        What the probe gave.
    min_coverage
        The share of the used parameters' entries that rows must stand for, from 0 to 1.

    Examples
    --------
    >>> from firstlight.probe import Coverage
    >>> from firstlight.profile import Profile
    >>> half = Measurement(Profile({}, "audit"), coverage=Coverage(2, 100, 1, 50, blocked="no backward pass"))
    >>> [v.severity for v in not_judged(half)]
    ['not judged']
    """
    coverage = measurement.coverage
    grounds = [*_coverage(measurement, min_coverage), *_gradients(measurement), *_batch(measurement)]
    if not grounds:
        return ()
    layers = [*(w.name for w in coverage.without_row if w.entries), *coverage.gaps]
    found = verdict(
        "not-judged",
        "not judged",
        "Too little was seen: " + "; ".join(grounds) + ".",
        measured=coverage.share,
        threshold=min_coverage,
        layers=tuple(dict.fromkeys(layers)),
    )
    return (found,)


def _coverage(measurement: Measurement, line: float) -> list[str]:
    """Whether too few of the used parameters have a row."""
    coverage = measurement.coverage
    if coverage.share >= line:
        return []
    return [
        f"rows stand for {coverage.share:.1%} of the entries of the parameters that the forward used "
        f"({coverage.with_row} of {coverage.used} parameters)"
    ]


def _batch(measurement: Measurement) -> list[str]:
    """Whether the batch brought a signal at all."""
    rows = measurement.profile.select("input")
    if len(rows) and (rows["absmax"] == 0).all():
        return ["every entry of the batch is zero, so no signal entered the model"]
    return []


def _gradients(measurement: Measurement) -> list[str]:
    """Whether no gradient was measured anywhere."""
    coverage = measurement.coverage
    if coverage.blocked:
        return [coverage.blocked]
    if not coverage.used or coverage.with_gradient or not np.isnan(measurement.profile["log_grad"]).all():
        return []
    return ["no row and no parameter received a gradient"]
