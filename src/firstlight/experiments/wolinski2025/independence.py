"""Where units of one layer stop being independent: density propagation beside networks drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import firstlight
from firstlight.errors import DomainError
from firstlight.experiments.wolinski2025.networks import network as described
from firstlight.network import RandomNetwork

# Wolinski and Arbel (2025), section 2 and E2: width 3 is where the pairs part.
CASES: tuple[tuple[str, int], ...] = (
    ("odd(2.05)", 3), ("odd(3)", 3), ("odd(10)", 3), ("odd(10)", 10), ("odd(10)", 100),
    ("positive(3)", 3), ("positive(10)", 3), ("tanh", 3), ("tanh", 10), ("tanh", 100),
    ("relu", 3), ("relu", 10), ("relu", 100),
)  # fmt: skip


@dataclass(frozen=True)
class UnitsBeside:
    """One layer, by both ways.

    Attributes
    ----------
    activation, width, depth
        The layer.
    ks_density, ks_networks
        Kolmogorov–Smirnov distance of a unit's law to N(0, 1): under independent units, and sampled.
    standardised_density, standardised_networks
        The same of z over its own standard deviation.
    kurtosis_density, kurtosis_networks
        Excess kurtosis.
    line
        5 % line of a distance sampled from this many networks. Two laws that are as close as the line have distances to
        N(0, 1) that differ by no more, by the triangle inequality.
    """

    activation: str
    width: int
    depth: int
    ks_density: float
    ks_networks: float
    standardised_density: float
    standardised_networks: float
    kurtosis_density: float
    kurtosis_networks: float
    line: float

    @property
    def fails(self) -> bool:
        """Whether the independence of units is refuted at this layer at the 5 % level."""
        raw = abs(self.ks_density - self.ks_networks)
        return max(raw, abs(self.standardised_density - self.standardised_networks)) > self.line


def beside_networks(
    network: RandomNetwork,
    *,
    nets: int = 10_000,
    layers: Sequence[int] = (),
    q0: float = 1.0,
    seed: int = 0,
) -> tuple[UnitsBeside, ...]:
    """A network's layers by density propagation and by sampling whole networks.

    Raises
    ------
    DomainError
        A network that density propagation cannot follow, or a layer it does not have.

    Examples
    --------
    >>> import firstlight
    >>> from firstlight.experiments.wolinski2025.independence import beside_networks
    >>> net = firstlight.RandomNetwork(depth=10, width=3, activation="weibull-odd(10)", weight_law="weibull(10)")
    >>> [(row.depth, row.fails) for row in beside_networks(net, nets=2000, layers=[1, 10])]
    [(1, False), (10, True)]
    """
    import torch

    wanted = list(layers) or list(range(1, network.depth + 1))
    if min(wanted) < 1 or max(wanted) > network.depth:
        raise DomainError(
            f"while comparing with networks: expected layers of 1 … {network.depth}, got {wanted}; add depth"
        )
    theory = firstlight.predict(network, q0=q0, level="density")
    inputs = torch.full((network.in_features or 100,), math.sqrt(float(q0)))
    found = firstlight.simulate(network, inputs, nets=nets, layers=wanted, seed=seed)
    rows = []
    for j, layer in enumerate(wanted):
        i = layer - 1
        rows.append(
            UnitsBeside(
                activation=network.phi.name,
                width=network.widths[i],
                depth=layer,
                ks_density=float(theory["ks"][i]),
                ks_networks=float(found["ks"][j]),
                standardised_density=float(theory["ks_standardised"][i]),
                standardised_networks=float(found["ks_standardised"][j]),
                kurtosis_density=float(theory["kurtosis"][i]),
                kurtosis_networks=float(found["kurtosis"][j]),
                line=1.358 / math.sqrt(nets),
            )
        )
    return tuple(rows)


def table(
    *,
    cases: Sequence[tuple[str, int]] = CASES,
    layers: Sequence[int] = (2, 10, 30),
    nets: int = 10_000,
    seed: int = 0,
) -> tuple[UnitsBeside, ...]:
    """The table of the documentation: every case at every layer."""
    rows: list[UnitsBeside] = []
    for name, width in cases:
        rows += beside_networks(
            described(name, width=width, depth=max(layers)), nets=nets, layers=layers, seed=seed
        )
    return tuple(rows)


def text(rows: Sequence[UnitsBeside]) -> str:
    """The rows as a table of fixed columns."""
    heads = (
        "activation",
        "width",
        "layer",
        "KS indep.",
        "KS drawn",
        "std. indep.",
        "std. drawn",
        "line",
        "independent?",
    )
    lines = ["  ".join(f"{head:>18}" if i == 0 else f"{head:>11}" for i, head in enumerate(heads))]
    for r in rows:
        numbers = (r.ks_density, r.ks_networks, r.standardised_density, r.standardised_networks, r.line)
        cells = [f"{r.activation:>18}", f"{r.width:>11}", f"{r.depth:>11}", *(f"{v:>11.4f}" for v in numbers)]
        lines.append("  ".join([*cells, f"{'no' if r.fails else 'not refuted':>11}"]))
    return "\n".join(lines)


if __name__ == "__main__":
    print(text(table()))
