"""Rule about chance: how far the gradient norm walks over a deep chain of independent weights."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from firstlight.diagnosis.catalogue import verdict
from firstlight.diagnosis.findings import DEEP, MIXES, Findings, factor, names, number
from firstlight.diagnosis.verdict import Severity, Verdict

# Standard deviation of ln ‖∂L/∂z‖ over draws of the weights, summed over the depth: a factor of two. Measured (study
# of verdicts, training half, chains of 21 to 68 layers with a normaliser of each sample): all fifteen starts above
# fail with Adam, ten of twelve by gradient descent; the six below .6 train by both.
WALKED = math.log(2.0)
# A normal law's deviation from its median deviation.
_ROBUST = 1.4826


def walk_verdicts(f: Findings) -> list[Verdict]:
    """The random walk of the log gradient norm along a chain without skips.

    Each independent matrix multiplies the norm by a random factor of variance about 1/width; orthogonal weights, which
    keep every direction, leave the activation's part alone.
    """
    index = _chain(f)
    if len(index) <= DEEP:
        return []
    logs = f.log_norms[index]
    known = np.isfinite(logs)
    steps = np.diff(logs[known])
    if len(steps) < DEEP:
        return []
    # by medians: one faulty layer is no walk
    step = _ROBUST * float(np.median(np.abs(steps - np.median(steps))))
    walk = step * math.sqrt(len(steps))
    if walk <= WALKED:
        return []
    severity: Severity = "unhealthy" if f.deep_normed else "warning"
    units = f.profile["units"][index]
    ratio = float(np.nansum(1.0 / np.maximum(units, 1.0)))
    evidence = (
        f"ln of the gradient norm steps by ±{number(step, 2)} from layer to layer, by chance, and walks "
        f"±{number(walk, 2)} over {len(steps)} layers: another draw of the weights gives a norm "
        f"{factor(walk)} times larger or smaller. "
        f"Depth over width, Σ 1/n, is {number(ratio, 2)}."
    )
    return [
        verdict(
            "depth-over-width",
            severity,
            evidence,
            measured=walk,
            # the median deviation of n normal values has 1.17 times their deviation over √n as its error
            uncertainty=1.17 * walk / math.sqrt(len(steps)),
            threshold=WALKED,
            layers=names(f.rows(index), known, logs, 3),
        )
    ]


def _chain(f: Findings) -> np.ndarray:
    """The weight rows in front of the readout, if each is read by the next one and by nothing else; else none."""
    index = f.at("weight")[: 0 if f.loops else None]
    index = index[~f.readout[index]]
    ends = ("residual", *MIXES)
    linked = all(f.next_rows(a, *ends) == [b] for a, b in pairwise(index.tolist()))
    return index if linked else index[:0]
