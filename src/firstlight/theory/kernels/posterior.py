"""Gaussian-process posteriors with the kernels of random networks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from firstlight.clean_room import clean
from firstlight.doors import checked
from firstlight.errors import DomainError
from firstlight.network import RandomNetwork
from firstlight.theory.kernels.convolution import ConvolutionalNetwork
from firstlight.theory.kernels.convolutional import convolutional_kernels
from firstlight.theory.kernels.networks import Kernels, kernels


@dataclass(frozen=True, eq=False)
class Posterior:
    """Posterior of a wide Bayesian network at test inputs.

    Attributes
    ----------
    mean
        (tests, outputs).
    variance
        (tests,), the same for every output.
    log_evidence
        Log marginal likelihood of the training targets, summed over outputs; NaN for trained networks.
    jitter
        Added to the diagonal besides the noise, so that the factorisation succeeded.
    """

    mean: Tensor
    variance: Tensor
    log_evidence: float
    jitter: float

    def __repr__(self) -> str:
        from firstlight.render.brief import one_line

        tests, outputs = self.mean.shape
        return one_line("Posterior", tests=tests, outputs=outputs, log_evidence=float(self.log_evidence))

    def _repr_html_(self) -> str:
        """Mean and deviation at the test inputs as a table, for a notebook."""
        from firstlight.render.brief import small_table

        heads = [*(f"mean of output {i}" for i in range(self.mean.shape[1])), "deviation"]
        rows = [[*means, v**0.5] for means, v in zip(self.mean.tolist(), self.variance.tolist(), strict=True)]
        return small_table(heads, rows, title=repr(self)[1:-1])

    @property
    def labels(self) -> Tensor:
        """The output with the largest mean: classification with one-hot targets."""
        return self.mean.argmax(-1)


@checked
@clean
def posterior(
    network: RandomNetwork | ConvolutionalNetwork,
    x: Float[Tensor, n * d],
    y: Tensor,
    tests: Float[Tensor, m * _],
    *,
    noise: float = 1e-2,
    kernel: str = "nngp",
) -> Posterior:
    r"""Posterior mean and variance of the infinitely wide network given noisy targets.

    .. math:: μ = K_{*} (K + σ^2 I)^{-1} y, \qquad
        v = K_{**} - K_{*} (K + σ^2 I)^{-1} K_{*}^T

    with ``"ntk"`` the law of networks trained to the end by gradient descent on squares,

    .. math:: μ = Θ_{*} (Θ + σ^2 I)^{-1} y, \qquad
        v = K_{**} + A K A^T - A K_{*}^T - K_{*} A^T, \quad A = Θ_{*} (Θ + σ^2 I)^{-1}

    where σ² is a ridge that pulls the training back to where it began, and not noise.

    By Cholesky factorisation; if rounding makes K + σ²I indefinite, the diagonal grows by the smallest power of
    ten (relative to the mean variance) that makes the matrix definite; the result says so.

    Parameters
    ----------
    network
        The network whose last layer is the prior; a convolutional one takes images (n, channels, height, width).
    x, y, tests
        Training inputs, targets (one column per output; centre them or use ±1 one-hot codes) and test inputs.
    noise
        Variance σ² of the targets' noise, ≥ 0. At 0, inputs that repeat count once, with the mean of their targets,
        which is the limit of a small noise; ``log_evidence`` is then that of these means.
    kernel
        ``"nngp"``: exact Bayesian inference; ``"ntk"``: gradient descent, whose ``log_evidence`` is NaN.

    Raises
    ------
    DomainError
        Shapes that do not match, non-finite targets, negative noise, or a kernel that no jitter makes definite.

    Notes
    -----
    Lee et al. (2018), *Deep neural networks as Gaussian processes*, equations 8 and 9; Lee et al. (2019), *Wide
    neural networks of any depth evolve as linear models*, equations 15 and 16, at infinite time.

    Examples
    --------
    >>> import torch
    >>> from firstlight import RandomNetwork
    >>> from firstlight.theory import posterior
    >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> found = posterior(RandomNetwork(depth=2, width=8), x, torch.tensor([[1.0], [-1.0]]), x, noise=1e-6)
    >>> found.mean.round(decimals=3).flatten().tolist()
    [1.0, -1.0]
    """
    targets = torch.as_tensor(y).detach().cpu().to(torch.float64)
    targets = targets[:, None] if targets.ndim == 1 else targets
    if len(targets) != len(x) or not bool(torch.isfinite(targets).all()):
        raise DomainError(
            f"while computing a posterior: expected one finite target for each of {len(x)} inputs, got shape "
            f"{tuple(targets.shape)}"
        )
    if not noise >= 0:
        raise DomainError(f"while computing a posterior: expected a noise variance ≥ 0, got {noise}")
    if kernel not in ("nngp", "ntk"):
        raise DomainError(
            f"while computing a posterior: expected kernel to be 'nngp' or 'ntk', got {kernel!r}"
        )
    if noise == 0:
        x, targets = _merged(x, targets)
    get = ("nngp",) if kernel == "nngp" else ("nngp", "ntk")
    if isinstance(network, ConvolutionalNetwork):
        own, cross = (
            convolutional_kernels(network, x, get=get),
            convolutional_kernels(network, tests, x, get=get),
        )
    else:
        own, cross = kernels(network, x, get=get), kernels(network, tests, x, get=get)
    if own.ntk is not None and cross.ntk is not None:
        return _trained(own.nngp, own.ntk, cross, cross.ntk, targets, float(noise))
    factor, jitter = _factor(own.nngp, float(noise))
    weights = torch.cholesky_solve(targets, factor)
    half = torch.linalg.solve_triangular(factor, cross.nngp.T, upper=False)
    n, outputs = targets.shape
    log_2pi = 1.8378770664093453
    fit = -0.5 * float((targets * weights).sum())
    evidence = fit - outputs * (float(factor.diagonal().log().sum()) + 0.5 * n * log_2pi)
    variance = (cross.q1 - (half * half).sum(0)).clamp(min=0)
    return Posterior(cross.nngp @ weights, variance, evidence, jitter)


def _merged(x: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Each distinct input once, in order of appearance, with the mean of its targets."""
    inputs = torch.as_tensor(x).detach().cpu()
    _, which, counts = torch.unique(
        inputs.reshape(len(inputs), -1), dim=0, return_inverse=True, return_counts=True
    )
    if len(counts) == len(inputs):
        return x, targets
    first = torch.full((len(counts),), len(inputs)).scatter_reduce(
        0, which, torch.arange(len(inputs)), "amin"
    )
    means = torch.zeros(len(counts), targets.shape[1], dtype=torch.float64).index_add_(0, which, targets)
    order = torch.argsort(first)
    return inputs[first[order]], (means / counts[:, None])[order]


def _trained(
    prior: Tensor, own: Tensor, cross: Kernels, between: Tensor, targets: Tensor, noise: float
) -> Posterior:
    """The law of outputs at the end of gradient descent."""
    factor, jitter = _factor(own, noise)
    through = torch.cholesky_solve(between.T, factor).T
    variance = cross.q1 + ((through @ prior - 2 * cross.nngp) * through).sum(1)
    return Posterior(through @ targets, variance.clamp(min=0), math.nan, jitter)


def _factor(kernel: Tensor, noise: float) -> tuple[Tensor, float]:
    scale = float(kernel.diagonal().mean())
    eye = torch.eye(len(kernel), dtype=torch.float64)
    for jitter in (0.0, *(scale * 10.0**power for power in range(-14, -5))):
        factor, info = torch.linalg.cholesky_ex(kernel + (noise + jitter) * eye)
        if int(info) == 0:
            return factor, jitter
    raise DomainError(
        "while factorising a kernel: expected a positive definite matrix, got one that a jitter of 1e-6 of its "
        "variance does not make definite; raise the noise or drop repeated inputs"
    )
