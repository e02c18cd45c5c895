"""What exact pairs do in deep and narrow networks: their law, their gradients and their correlations.

The experiment behind ``pairs.recommend``: ensembles of random networks of every width with two inputs of
correlation 0.3, for odd, positive and critical pairs and for tanh and ReLU at their edge of chaos.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from firstlight.ensemble import Plan, run
from firstlight.experiments.wolinski2025.networks import network

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NETWORKS = (
    "tanh",
    "relu",
    *(f"{kind}({theta:g})" for kind in ("odd", "critical", "positive") for theta in (2.05, 3.0, 5.0, 10.0)),
)
WIDTHS = (3, 10, 30, 100)
NETS = {3: 10_000, 10: 10_000, 30: 4_000, 100: 1_000}
CORRELATION = 0.3


@dataclass(frozen=True)
class InDepth:
    """One layer of one ensemble.

    Attributes
    ----------
    name, width, layer, nets
        Which.
    ks, ks_se, standardised, standardised_se
        Distance of a pre-activation to N(0,1), as it is and after standardising.
    q, q_se
        Its second moment.
    log_grad, log_grad_se, log_grad_low, log_grad_high
        Mean over networks of the log norm of the gradient of a random linear loss of the last layer by this one,
        with its standard error and the 5 % and 95 % quantiles over networks.
    correlation, correlation_se
        Of two inputs whose correlation is 0.3.
    """

    name: str
    width: int
    layer: int
    nets: int
    ks: float
    ks_se: float
    standardised: float
    standardised_se: float
    q: float
    q_se: float
    log_grad: float
    log_grad_se: float
    log_grad_low: float
    log_grad_high: float
    correlation: float
    correlation_se: float


def two_inputs(features: int = 100) -> Tensor:
    """Two inputs of squared norm ``features`` whose correlation is 0.3.

    Examples
    --------
    >>> from firstlight.experiments.wolinski2025.pairs_in_depth import two_inputs
    >>> x = two_inputs()
    >>> round(float(x[0] @ x[1]) / 100, 6)
    0.3
    """
    first = torch.ones(features)
    turned = first * torch.tensor([1.0, -1.0]).repeat(features // 2)
    return torch.stack([first, CORRELATION * first + (1 - CORRELATION**2) ** 0.5 * turned])


def in_depth(
    name: str, *, width: int, depth: int = 100, nets: int | None = None, seed: int = 0
) -> tuple[InDepth, ...]:
    """Layers 1, 10, 30 and ``depth`` of an ensemble with gradients from that depth to the first layer.

    Parameters
    ----------
    name
        As in ``wolinski2025.network``.
    width, depth, nets, seed
        The ensemble; by default 10 000 networks of width up to 10, fewer of wider ones.

    Examples
    --------
    >>> from firstlight.experiments.wolinski2025.pairs_in_depth import in_depth
    >>> first, last = in_depth("positive(3)", width=3, depth=8, nets=200)
    >>> first.log_grad < last.log_grad - 2  # gradients of positive pairs vanish
    True
    """
    count = NETS.get(width, 1000) if nets is None else nets
    layers = tuple(sorted({1, 10, 30, depth} & set(range(1, depth + 1))))
    net = network(name, width=width, depth=depth)
    ensemble = run(Plan(net=net, nets=count, layers=layers, seed=seed, gradients=True), two_inputs())
    profile = ensemble.profile
    columns = [
        "ks", "ks_se", "ks_standardised", "ks_standardised_se", "q", "q_se",
        "log_grad", "log_grad_se", "log_grad_q05", "log_grad_q95", "correlation", "correlation_se",
    ]  # fmt: skip
    numbers = [[float(profile[column][i]) for column in columns] for i in range(len(layers))]
    rows = [InDepth(name, width, layer, count, *row) for layer, row in zip(layers, numbers, strict=True)]
    return tuple(rows)


def table(
    names: Sequence[str] = NETWORKS,
    widths: Sequence[int] = WIDTHS,
    *,
    depth: int = 100,
    nets: int | None = None,
    seed: int = 0,
    on_rows: Callable[[tuple[InDepth, ...]], object] | None = None,
) -> tuple[InDepth, ...]:
    """Every network at every width; ``on_rows`` sees each ensemble as it is finished."""
    rows: list[InDepth] = []
    for width in widths:
        for name in names:
            made = in_depth(name, width=width, depth=depth, nets=nets, seed=seed)
            rows += made
            if on_rows is not None:
                on_rows(made)
    return tuple(rows)


def draw(rows: Sequence[InDepth]) -> Figure:
    """KS distance and gradient at depth against width, one line per network (matplotlib)."""
    from matplotlib.figure import Figure

    depth = max(row.layer for row in rows)
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name in dict.fromkeys(row.name for row in rows):
        last = [row for row in rows if row.name == name and row.layer == depth]
        first = [row for row in rows if row.name == name and row.layer == 1]
        widths = [row.width for row in last]
        left.errorbar(widths, [r.ks for r in last], yerr=[r.ks_se for r in last], marker=".", label=name)
        right.errorbar(
            widths,
            [a.log_grad - b.log_grad for a, b in zip(first, last, strict=True)],
            yerr=[a.log_grad_se for a in first],
            marker=".",
        )
    left.set(xscale="log", yscale="log", xlabel="width", ylabel=f"KS distance to N(0,1) at layer {depth}")
    right.set(xscale="log", xlabel="width", ylabel=f"log gradient, layer 1 less layer {depth}")
    left.legend(fontsize="x-small", ncols=2)
    return figure
