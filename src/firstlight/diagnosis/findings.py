"""Findings: what the rules read, computed once from a measurement."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from firstlight.diagnosis.trend import Trend, fit
from firstlight.probe.measurement import Measurement
from firstlight.profile import Profile


@dataclass(frozen=True)
class Findings:
    """A measurement, and the views of it that several rules share."""

    measurement: Measurement

    @property
    def profile(self) -> Profile:
        """All rows."""
        return self.measurement.profile

    @property
    def meta(self) -> Any:
        """Facts about the run."""
        return self.measurement.meta

    @cached_property
    def weights(self) -> Profile:
        """Rows of weight layers."""
        return self.profile.select("weight")

    @cached_property
    def norms(self) -> Profile:
        """Rows of normalisers."""
        return self.profile.select("norm")

    @cached_property
    def log_gradient_norms(self) -> np.ndarray:
        """Ln ‖∂L/∂z‖ of the weight rows: the norm, not the rms, is what an isometric layer keeps."""
        return self.weights["log_grad"] + 0.5 * np.log(entries(self.weights))

    @cached_property
    def gradient(self) -> Trend | None:
        """Trend of the log gradient norm with depth; negative when gradients grow towards the input."""
        return fit(self.weights["depth"], self.log_gradient_norms)

    @cached_property
    def signal(self) -> Trend | None:
        """Trend of ln q over weight rows."""
        return fit(self.weights["depth"], log(self.weights["q"]))

    @cached_property
    def batch_normed(self) -> bool:
        """Whether at least half of the weight layers have a batch norm that uses the batch."""
        count = sum(str(op) == "batch_norm" for op in self.norms["op"])
        uses_batch = np.isfinite(self.norms["norm_gain"]).any()
        return bool(uses_batch) and count * 2 >= max(len(self.weights), 1)

    @cached_property
    def one_sample(self) -> bool:
        """Whether the batch repeats one sample, or is one."""
        inputs = self.profile.select("input")
        c = inputs["correlation"]
        return bool(len(c)) and bool(((c > 1.0 - 1e-6) | np.isnan(c)).all())

    @cached_property
    def normalised(self) -> bool:
        """Whether normalisers of any kind stand after at least half of the weight layers."""
        return len(self.norms) * 2 >= max(len(self.weights), 1)

    @cached_property
    def residual(self) -> bool:
        """Whether the network has a stream of residual sums."""
        return len(self.profile.select("residual")) >= 2

    @cached_property
    def theory_growth(self) -> float:
        """Theory's log growth of the squared gradient per weight layer; NaN where paths branch and rejoin."""
        if self.residual:
            return math.nan
        growth = self.profile["growth_theory"]
        inner = np.isin(self.profile["kind"].astype(str), ("weight", "norm", "residual"))
        values = growth[inner & np.isfinite(growth)]
        depth = self.gradient.span if self.gradient is not None else 0.0
        return float(values.sum() / depth) if depth > 0 and len(values) else math.nan

    def hidden(self) -> Profile:
        """Weight rows without the last one, whose few outputs say little about propagation."""
        rows = self.weights
        if len(rows) < 2:
            return rows
        keep = rows["depth"] < rows["depth"].max()
        return Profile({n: c[keep] for n, c in rows.columns.items()}, rows.source, rows.meta)


def entries(profile: Profile) -> np.ndarray:
    """Number of entries of each row's output."""
    return np.array([math.prod(int(d) for d in s.split("×")) if s else 1 for s in profile["shape"]], float)


def log(values: np.ndarray) -> np.ndarray:
    """Natural log with −inf at zero and NaN below, silently."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(values)


def names(
    profile: Profile, mask: np.ndarray, order: np.ndarray | None = None, limit: int = 12
) -> tuple[str, ...]:
    """Names of the chosen rows, the largest ``order`` first."""
    index = np.flatnonzero(mask)
    if order is not None:
        index = index[np.argsort(-order[index], kind="stable")]
    return tuple(str(n) for n in profile["name"][index[:limit]])


def number(value: float, digits: int = 3) -> str:
    """A number for a sentence: significant digits, powers of ten where they are needed.

    Examples
    --------
    >>> number(0.0123456), number(0.005234, 2), number(470000.0), number(float("inf"))
    ('0.0123', '0.0052', '4.7×10⁵', '∞')
    """
    if not math.isfinite(value):
        return {math.inf: "∞", -math.inf: "−∞"}.get(value, "not a number")
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.{digits}g}" if abs(value) < 1000 else f"{value:.0f}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}×10{str(int(exponent)).translate(_RAISED)}"


_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def factor(log_value: float) -> str:
    """e^x for a sentence, also where it leaves the range of floats."""
    if abs(log_value) < 600:
        return number(math.exp(log_value))
    return f"10{f'{log_value / math.log(10.0):.0f}'.translate(_RAISED)}"
