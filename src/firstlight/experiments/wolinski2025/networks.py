"""The networks of Wolinski and Arbel (TMLR 2025) by name: tanh and ReLU at their edge of chaos, and the pairs."""

from __future__ import annotations

from firstlight.errors import DomainError
from firstlight.network import RandomNetwork
from firstlight.training import EDGE_SCALES

# The authors' code: ReLU (σ_w², σ_b²) = (2, 0), tanh (1.46, 0.013); pairs σ_w = 1 without bias.
SCALES = EDGE_SCALES
# φ_{.99,ω} by ω: σ_w², derived for this project, at which its variance has a stable value and no bias is needed
PERIODIC = {2: 0.911539, 3: 0.928317, 6: 0.973663}
THETAS = (2.05, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0)


def known(name: str) -> None:
    """Refuse a name of no network, before anything is computed.

    Raises
    ------
    FirstlightError
        There is none, or no such pair.

    Examples
    --------
    >>> from firstlight.experiments.wolinski2025.networks import known
    >>> known("odd(3)")
    """
    _ = network(name, width=2, depth=1).phi


def network(name: str, *, width: int, depth: int) -> RandomNetwork:
    """``"tanh"``, ``"relu"``, or a pair as ``"odd(θ)"``, ``"positive(θ)"`` (both of the paper) or ``"critical(θ)"``.

    ``"periodic(ω)"`` is φ_{.99,ω}(x) = x·exp((.99/ω) sin(ω ln|x|)) (ω 2, 3, 6), whose variance has many stable values.
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
    omega = next((omega for omega in PERIODIC if name == f"periodic({omega})"), None)
    if omega is not None:
        return RandomNetwork(
            depth=depth,
            width=width,
            activation=f"log_periodic(0.99, {omega})",
            sigma_w=PERIODIC[omega] ** 0.5,
        )
    if kind not in ("odd", "positive", "critical") or not rest.endswith(")"):
        raise DomainError(
            "while building a network of the paper: expected tanh, relu, odd(θ), positive(θ), critical(θ) or "
            f"periodic(ω) with ω 2, 3 or 6, got {name!r}"
        )
    theta = rest[:-1]
    return RandomNetwork(
        depth=depth, width=width, activation=f"weibull-{kind}({theta})", weight_law=f"weibull({theta})"
    )
