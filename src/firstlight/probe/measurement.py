"""What one probe of a model gives: the profile, samples for plots, and what was left out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from firstlight.probe.coverage import Coverage
from firstlight.profile import Profile


@dataclass(frozen=True)
class Skipped:
    """Something the probe did not measure, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class LayerSample:
    """The law of one row's entries, small enough to draw: a histogram and quantiles of the raw entries.

    ``counts[i]`` entries fell in ``[edges[i], edges[i+1])`` where the edges are ``HISTOGRAM_BINS + 1``
    equal steps from ``low`` to ``high``; ``quantiles[j]`` is the quantile at ``QUANTILE_LEVELS[j]``.
    """

    low: float
    high: float
    counts: tuple[int, ...]
    quantiles: tuple[float, ...]


HISTOGRAM_BINS = 48
QUANTILE_LEVELS: tuple[float, ...] = (
    0.001, 0.0025, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45,
    0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.965, 0.98, 0.99, 0.995, 0.9975, 0.999,
)  # fmt: skip


GradientState = Literal["finite", "zero", "non-finite", "absent", "frozen", "unused"]


@dataclass(frozen=True)
class ParameterGradient:
    """What one parameter received in the backward pass.

    Attributes
    ----------
    state
        ``"finite"``, ``"zero"`` (exactly, in every entry), ``"non-finite"``, ``"absent"`` (the parameter took part in
        the forward, and the backward never came to the parameter), ``"frozen"`` (the parameter takes no gradient) or
        ``"unused"``.
    entries
        The number of entries.
    log_norm
        Natural log of the Frobenius norm of the gradient; NaN where there is no gradient or the norm is not finite.
    zero
        Whether the parameter itself is exactly zero, and a factor.
    bias
        Whether it is a bias, by its name.
    cause
        Of a zero: ``"meant"`` (a zero factor that moves on the first step stands before it), ``"two-zeros"``
        (both factors of a product are zero), ``"constant"``, ``"flat"``, ``"step"``, ``"softmax"``,
        ``"one-key"``, ``"underflow"``, ``"empty"`` (no entry of the batch came there) or the name of a step of the
        backward. Of an absent gradient: ``"cut"`` if what the parameter feeds reaches the loss; ``"code"`` for a table
        of codes, which a straight-through step leaves out; ``"index"`` if integers made of the parameter choose what
        reaches the loss; ``"number"`` if what the parameter makes becomes Python numbers and nothing else. Empty if
        the cause is not known.
    """

    state: GradientState
    entries: int
    log_norm: float = math.nan
    zero: bool = False
    bias: bool = False
    cause: str = ""


@dataclass(frozen=True)
class Measurement:
    """One traced forward and backward of a model.

    Attributes
    ----------
    profile
        One row per measured call, in the order of execution.
    samples
        Row number to the law of its entries, for the rows that have one.
    skipped
        What was not measured, each with its reason. Nothing is left out silently.
    notes
        What limits the numbers: subsampling, a missing backward pass, a frozen parameter.
    meta
        ``model``, ``parameters``, ``batch``, ``dtype``, ``device``, ``training``, ``loss``, ``seed``,
        ``torch`` and ``seconds``; JSON can hold it.
    coverage
        How many of the used parameters have a row and a gradient, and what was called without a row.
    gradients
        What every parameter received, by its name; empty where there was no backward pass.
    links
        For every row the numbers of the rows that it was computed from, a sum's stream first.
    """

    profile: Profile
    samples: Mapping[int, LayerSample] = field(default_factory=dict)
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)
    coverage: Coverage = field(default_factory=Coverage)
    gradients: Mapping[str, ParameterGradient] = field(default_factory=dict)
    links: tuple[tuple[int, ...], ...] = ()

    def __repr__(self) -> str:
        from firstlight.render.brief import one_line

        model = self.meta.get("model", "a model")
        return one_line("Measurement", model=model, rows=len(self.profile), skipped=len(self.skipped))
