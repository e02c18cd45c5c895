"""Gradients along the roles of layers: the same layer of every block, and the worst stretch of it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from firstlight.diagnosis.findings import Findings
from firstlight.diagnosis.trend import Trend, fit
from firstlight.profile import Profile

Quantity = Literal["∂L/∂z", "∂L/∂W"]
# A change in one step counts from here on; a smaller one must be the sum of steps of one sign.
JUMP = math.log(1e4)
# Rows of one role from which a path is a path.
SHORT = 4


@dataclass(frozen=True)
class Path:
    """The logarithm of one quantity along the rows of one role, from the input to the output.

    Attributes
    ----------
    role
        The rows' common name, a star for each number.
    quantity
        ``"∂L/∂z"``: the norm; ``"∂L/∂W"``: the root mean square over σ_w, so that the weight's scale and the
        fan-in of the kernel are taken out.
    depth, values
        Where the rows stand, and the logarithms.
    names
        The rows.
    normalised
        Whether a normaliser reads most of the rows: the scale of such a weight changes nothing, and a large gradient
        only makes the weight grow and its steps smaller.
    """

    role: str
    quantity: Quantity
    depth: np.ndarray
    values: np.ndarray
    names: tuple[str, ...]
    normalised: bool = False

    @cached_property
    def trend(self) -> Trend | None:
        """The straight line through the values."""
        return fit(self.depth, self.values)

    @cached_property
    def stretch(self) -> tuple[int, int]:
        """The two rows between which the values change most, the earlier first."""
        y = self.values
        low, high = np.minimum.accumulate(y), np.maximum.accumulate(y)
        rise, fall = int(np.argmax(y - low)), int(np.argmax(high - y))
        end, up = (rise, True) if (y - low)[rise] >= (high - y)[fall] else (fall, False)
        start = int(np.argmin(y[: end + 1]) if up else np.argmax(y[: end + 1]))
        return start, end

    @property
    def change(self) -> float:
        """Change of the logarithm over the worst stretch, towards the output; 0 where chance may have made it."""
        start, end = self.stretch
        total = float(self.values[end] - self.values[start])
        if abs(total) > JUMP:
            return total
        steps = np.diff(self.values[start : end + 1])
        if len(steps) < SHORT - 1:
            return 0.0
        error = float(steps.std(ddof=1)) * math.sqrt(len(steps))
        return total if abs(total) > 3.0 * error else 0.0


def role_of(name: str) -> str:
    """A row's name with its numbers left out.

    Examples
    --------
    >>> role_of("blocks.3.attn.qkv"), role_of("fc2"), role_of("cell#12")
    ('blocks.*.attn.qkv', 'fc*', 'cell')
    """
    return re.sub(r"\d+", "*", name.split("#")[0])


def paths(f: Findings) -> list[Path]:
    """The path of each quantity along each role with rows enough, without the calls of one layer in a row."""
    rows, at = f.weights, f.at("weight").tolist()
    names = [str(n) for n in rows["name"]]
    members: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        if "#" not in name:
            members.setdefault(role_of(name), []).append(i)
    z = f.log_gradient_norms
    with np.errstate(divide="ignore", invalid="ignore"):
        w = rows["log_weight_grad"] - 0.5 * np.log(weight_entries(rows)) - np.log(rows["sigma_w"])
    found = []
    quantities: tuple[tuple[Quantity, np.ndarray], ...] = (("∂L/∂z", z), ("∂L/∂W", w))
    for role, index in members.items():
        for quantity, values in quantities:
            kept = [i for i in index if np.isfinite(values[i])]
            if len(kept) >= SHORT and len(set(rows["depth"][kept])) == len(kept):
                kept.sort(key=lambda i: rows["depth"][i])
                normed = sum(f.into_norm(at[i]) for i in kept) * 2 > len(kept)
                found.append(
                    Path(
                        role,
                        quantity,
                        rows["depth"][kept],
                        values[kept],
                        tuple(names[i] for i in kept),
                        normed,
                    )
                )
    return found


def weight_entries(rows: Profile) -> np.ndarray:
    """Number of entries of each row's weight, 1 where it has none."""
    shapes = rows["weight_shape"]
    return np.array([math.prod(map(int, s.split("×"))) if s and s[0].isdigit() else 1 for s in shapes], float)
