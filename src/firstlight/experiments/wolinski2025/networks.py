"""The networks of Wolinski and Arbel (TMLR 2025) by name: tanh and ReLU at their edge of chaos, and the pairs."""

from __future__ import annotations

from firstlight.errors import DomainError
from firstlight.network import RandomNetwork
from firstlight.training import EDGE_SCALES

# The authors' code: ReLU (σ_w², σ_b²) = (2, 0), tanh (1.46, 0.013); pairs σ_w = 1 without bias.
SCALES = EDGE_SCALES
THETAS = (2.05, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0)


def network(name: str, *, width: int, depth: int) -> RandomNetwork:
    """``"tanh"``, ``"relu"``, or a pair as ``"odd(θ)"``, ``"positive(θ)"`` (both of the paper) or ``"critical(θ)"``.

    The pairs take their weights from the symmetric Weibull law as it is, E W² = Γ(1 + 2/θ); the first layer is
    Gaussian in all of them.

    Raises
    ------
    DomainError
        If the name is none of these.

    Examples
    --------
    >>> from firstlight.experiments.wolinski2025 import network
    >>> network("odd(3)", width=10, depth=100).weight_law
    'weibull(3)'
    """
    if name in SCALES:
        sigma_w, sigma_b = SCALES[name]
        return RandomNetwork(depth=depth, width=width, activation=name, sigma_w=sigma_w, sigma_b=sigma_b)
    kind, _, rest = name.partition("(")
    if kind not in ("odd", "positive", "critical") or not rest.endswith(")"):
        raise DomainError(
            "while building a network of the paper: expected tanh, relu, odd(θ), positive(θ) or critical(θ), got "
            f"{name!r}"
        )
    theta = rest[:-1]
    return RandomNetwork(
        depth=depth, width=width, activation=f"weibull-{kind}({theta})", weight_law=f"weibull({theta})"
    )
