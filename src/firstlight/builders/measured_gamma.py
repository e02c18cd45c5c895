"""The smallest gain exponent by measurement: networks are built and their gradients taken."""

from __future__ import annotations

import math
import warnings

import torch

from firstlight.builders.isometric import Phi, isometric_mlp
from firstlight.builders.log_gradients import log_gradients
from firstlight.doors import checked
from firstlight.errors import DomainError, PropagationWarning


@checked
def measured_growth(
    activation: Phi, gain_exponent: float, *, depth: int, width: int = 48, seed: int = 0
) -> float:
    """Growth of log ‖∇W‖ from the last layer to the first of one network, beyond the linear one, in nats.

    The linear network has the same weights and batch, so what it shares (the loss of the symmetric part of the
    gradient near the output, a random walk of the slope) cancels. The output factor of the gains cancels too.

    Examples
    --------
    >>> from firstlight.builders import measured_growth
    >>> bool(measured_growth("sin", 0.0, depth=40) > 4 > measured_growth("sin", 0.5, depth=40))
    True
    """
    return _growth(activation, gain_exponent, depth, width, seed) - _growth("linear", 0.0, depth, width, seed)


@checked
def measure_gamma(
    activation: Phi,
    *,
    depth: int,
    width: int = 48,
    budget: float = math.log(10.0),
    seed: int = 0,
) -> float:
    """Smallest exponent γ of the gains ℓ^{−γ} that keeps the measured growth within a budget, to 0.01.

    The measured counterpart of ``theory.batchnorm.choose_gamma``, for activations without a theory (trained,
    stochastic, not elementwise); about ten networks are built.

    Parameters
    ----------
    activation
        Anything that ``isometric_mlp`` takes.
    depth, width
        Size of the networks; the batch has ``width + 16`` Gaussian samples.
    budget
        Largest growth allowed, in nats.
    seed
        Seed of weights and batch.

    Returns
    -------
    float
        γ between 0 and 2.

    Raises
    ------
    DomainError
        If no exponent up to 2 keeps the growth within the budget.

    Examples
    --------
    >>> from firstlight.builders import measure_gamma
    >>> measure_gamma("linear", depth=20)
    0.0
    """

    def growth(gamma: float) -> float:
        return measured_growth(activation, gamma, depth=depth, width=width, seed=seed)

    if growth(0.0) <= budget:
        return 0.0
    low, high = 0.0, 2.0
    if growth(high) > budget:
        raise DomainError(
            f"while measuring a gain exponent: expected growth within {budget:.3g} nats at some exponent up to 2, "
            f"got {growth(high):.3g} at 2; use a smooth odd activation such as tanh or sin"
        )
    while high - low > 0.01:
        middle = (low + high) / 2
        low, high = (low, middle) if growth(middle) <= budget else (middle, high)
    return math.ceil(high * 100 - 1e-9) / 100


def _growth(activation: Phi, gain_exponent: float, depth: int, width: int, seed: int) -> float:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(width + 16, width, generator=generator, dtype=torch.float64)
    cotangent = torch.randn(width + 16, width, generator=generator, dtype=torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PropagationWarning)  # this is what is being measured
        model = isometric_mlp(
            width, None, depth=depth, width=width, activation=activation, gain_exponent=gain_exponent,
            generator=generator,
        ).double()  # fmt: skip
    norms = log_gradients(model, x, lambda y: (cotangent * y).sum()).log_norms
    return float(norms[0] - norms[-1])
