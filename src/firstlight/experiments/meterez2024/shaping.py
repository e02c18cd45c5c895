"""Gains that shape the activation: their growth rate, and the gradient against depth."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from firstlight.builders import NormOptions
from firstlight.experiments.meterez2024.figure import Figure, Row
from firstlight.experiments.meterez2024.gradients import depths, gaussian_batch, gradients_at_start
from firstlight.theory import batchnorm


def growth_by_gain(
    *, width: int = 64, depth: int = 100, gains: Sequence[float] = (0.2, 0.4, 0.6, 0.8, 1.0)
) -> Figure:
    """Explosion rate per layer against a constant gain, above the identity: measured, and by theory (α⁴).

    The paper has no figure of it.

    Examples
    --------
    >>> from firstlight.experiments import meterez2024
    >>> figure = meterez2024.growth_by_gain(width=16, depth=20, gains=(0.5, 1.0))
    >>> sorted(figure.lines())
    ['sin', 'sin (theory)', 'tanh', 'tanh (theory)']
    """
    x = gaussian_batch(width + 16, width)
    centred = NormOptions(eps=0.0)
    floor = gradients_at_start(x, depth=depth, width=width, norm=centred).trend(skip=depth // 5)[0]
    rows: list[Row] = []
    for activation in ("sin", "tanh"):
        theory = batchnorm.shaped_rates(activation, list(gains)).tolist()
        for gain, predicted in zip(gains, theory, strict=True):
            found = gradients_at_start(
                x, depth=depth, width=width, norm=centred, activation=activation, gain_exponent=[gain] * depth
            ).trend(skip=depth // 5)[0]
            rows.append({"activation": activation, "gain": gain, "rate": found - floor})
            rows.append({"activation": f"{activation} (theory)", "gain": gain, "rate": predicted})
    return Figure(
        "Growth by gain", "Growth of log ‖∇W‖ per layer beyond the identity, against the gain.",
        tuple(rows), "gain", "rate", "activation", facts={"width": width, "depth": depth},
    )  # fmt: skip


def figure_5(
    *,
    width: int = 64,
    depth: int = 300,
    activation: str = "tanh",
    exponents: Sequence[float] = (0.0, 0.25, 0.4),
) -> Figure:
    """Gradient of the first layer against depth for gains ℓ^{−γ}: bounded above the critical exponent 1/4.

    Examples
    --------
    >>> from firstlight.experiments import meterez2024
    >>> len(meterez2024.figure_5(width=16, depth=20, exponents=(0.0, 0.4)).rows)
    6
    """
    x = gaussian_batch(width + 16, width)
    rows = []
    for exponent in exponents:
        for deep in depths(depth):
            found = gradients_at_start(
                x, depth=deep, width=width, norm=NormOptions(eps=0.0), activation=activation,
                gain_exponent=exponent,
            )  # fmt: skip
            # the output factor α_L scales every gradient alike and is no growth
            value = float(found.log_norms[0]) + exponent * float(torch.log(torch.tensor(float(deep))))
            rows.append({"γ": exponent, "depth": deep, "log ‖∇W₁‖ − log α_L": value})
    critical = batchnorm.choose_gamma(activation).critical
    return Figure(
        "Figure 5", f"{activation} with gains ℓ^(−γ); the critical exponent is {critical:.3g}.",
        tuple(rows), "depth", "log ‖∇W₁‖ − log α_L", "γ", facts={"width": width},
    )  # fmt: skip
