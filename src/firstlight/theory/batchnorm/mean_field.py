"""Mean-field moments and growth of gradients through batch norm (Yang et al.), for any activation and batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from firstlight import activations
from firstlight.clean_room import clean
from firstlight.doors import checked
from firstlight.errors import DomainError

_NODES = 48  # Gauss–Legendre nodes per panel
_PANELS = 6  # panels across the bulk of the density, before splitting at kinks
_REACH = 9.5  # standard deviations of the bulk


@dataclass(frozen=True)
class BatchMoments:
    """Moments of φ after the batch norm of a wide layer, over the batch's samples.

    Attributes
    ----------
    second
        E φ(y₁)².
    cross
        E φ(y₁)φ(y₂) for two samples of the batch.
    rate
        Growth of the mean squared gradient per layer, towards the input.
    """

    second: float
    cross: float
    rate: float


@clean
def gradient_rate(activation: object, batch: float = math.inf, *, centred: bool = True) -> float:
    r"""Growth of the mean squared gradient per layer of a wide batch-normalised network, towards the input.

    .. math:: λ = \frac{B}{B-3}\,\frac{E\,\mathrm{tr}(P D G D)}{E\,φ(y)^\top G\,φ(y)}, \qquad
              G = I - \tfrac1B \mathbf 1 \mathbf 1^\top, \; P = G - \tfrac1B y y^\top, \; D = \mathrm{diag}\,φ'(y)

    where y is uniform on the sphere of radius √B that is orthogonal to 1. For large B the rate tends to Eφ'(z)²/Var
    φ(z), with z standard normal. Without centring, and for odd φ, the same holds with G = I, y uniform on the whole
    sphere and B/(B − 2) in front.

    The rate is the growth of the **squared** norm with Gaussian weights and width → ∞ at fixed B; measured
    networks follow it where the width is far above B². ReLU explodes at this rate with orthogonal weights too.

    Parameters
    ----------
    activation
        Anything that ``firstlight.activations.get`` takes.
    batch
        Batch size B: at least 4 with centring, 3 without; or infinity.
    centred
        Whether the batch norm subtracts the mean.

    Returns
    -------
    float
        λ.

    Raises
    ------
    DomainError
        If the batch is too small, φ is constant, or φ is not odd without centring.

    References
    ----------
    Yang et al., "A Mean Field Theory of Batch Normalization", ICLR 2019, corollary 3.6 and appendix.

    Examples
    --------
    >>> import math
    >>> from firstlight.theory.batchnorm import gradient_rate
    >>> round(gradient_rate("relu"), 10) == round(math.pi / (math.pi - 1), 10)
    True
    >>> round(gradient_rate("linear", 10), 10) == round(8 / 7, 10)
    True
    """
    return batch_moments(activation, batch, centred=centred).rate


@clean
def batch_moments(activation: object, batch: float = math.inf, *, centred: bool = True) -> BatchMoments:
    r"""Second moment of φ(y), its product over two samples, and the growth of gradients.

    y is uniform on the sphere of radius √B orthogonal to 1 (with centring) or on the whole sphere (without):
    what batch norm makes of a wide layer whose samples are exchangeable. For B → ∞ its entries are independent
    N(0, 1).

    Parameters and errors are those of ``gradient_rate``.

    Raises
    ------
    DomainError
        If the batch is below 4 (3 without centring), or the activation is not odd without centring.

    Examples
    --------
    >>> from firstlight.theory.batchnorm import batch_moments
    >>> found = batch_moments("linear", 5)
    >>> round(found.second, 12), round(found.cross, 12)  # samples sum to zero
    (1.0, -0.25)
    """
    phi = activations.get(activation)
    least = 4 if centred else 3
    if not batch >= least:
        raise DomainError(
            f"while computing a mean-field rate: expected a batch of at least {least}, got {batch}; smaller "
            "batches have no finite rate"
        )
    if not centred and phi.parity != "odd":
        raise DomainError(
            f"while computing a mean-field rate without centring: expected an odd activation, got {phi.name}; "
            "use centred=True"
        )
    if math.isinf(batch):
        second, cross, top = _limit(phi, centred)
    elif centred:
        second, cross, top = _centred(phi, int(batch))
    else:
        second, cross, top = _uncentred(phi, int(batch))
    if not second - cross > 1e-14 * max(top, 1e-300):
        raise DomainError(
            f"while computing a mean-field rate: expected an activation that varies, got {phi.name} with "
            "Var φ = 0; batch norm would divide by zero"
        )
    return BatchMoments(second, cross, top / (second - cross))


@checked
@clean
def width_for_mean_field(batch: float) -> float:
    """Width from which the mean-field rate describes a network, ten times B²: below it, measured rates differ.

    Examples
    --------
    >>> from firstlight.theory.batchnorm import width_for_mean_field
    >>> width_for_mean_field(10)
    1000
    """
    return 10 * batch**2


def _limit(phi: activations.Activation, centred: bool) -> tuple[float, float, float]:
    """E φ², E φ(y₁)φ(y₂) and E φ'² of independent samples."""
    m = activations.moments(phi, 1.0)
    return float(m.second), float(m.mean) ** 2 if centred else 0.0, float(m.slope)


def _uncentred(phi: activations.Activation, b: int) -> tuple[float, float, float]:
    y, w = _coordinate(phi.kinks, b, math.sqrt(b))
    d2, y2d2 = phi.derivative(y).square(), (y * phi.derivative(y)).square()
    return float(w @ phi(y).square()), 0.0, float(w @ (b * d2 - y2d2)) / (b - 2)


def _centred(phi: activations.Activation, b: int) -> tuple[float, float, float]:
    """Terms of the trace over one coordinate and over pairs of coordinates, in closed combination."""
    y, w = _coordinate(phi.kinks, b - 1, math.sqrt(b - 1))
    f, d = phi(y), phi.derivative(y)
    one = {"ff": float(w @ f**2), "dd": float(w @ d**2), "yydd": float(w @ (y * d) ** 2)}
    pair_f = pair_d = pair_yd = 0.0
    for yi, wi, fi, di in zip(y.tolist(), w.tolist(), f.tolist(), d.tolist(), strict=True):
        # given y₁, the second coordinate is a shifted coordinate of a sphere one dimension lower
        radius = math.sqrt(max((b - 1) - yi**2, 0.0) * (1 - 1 / (b - 1) ** 2))
        shift = -yi / (b - 1)
        v, u = _coordinate([k - shift for k in phi.kinks], b - 2, radius)
        v = v + shift
        slope = phi.derivative(v)
        pair_f += wi * fi * float(u @ phi(v))
        pair_d += wi * di * float(u @ slope)
        pair_yd += wi * yi * di * float(u @ (v * slope))
    sum_d = b * one["dd"]
    square_of_sum = b * one["dd"] + b * (b - 1) * pair_d
    along = one["yydd"] / b + (b - 1) / b * pair_yd
    trace = (1 - 1 / b) * sum_d - (sum_d - square_of_sum / b) / b - one["yydd"] + along
    return one["ff"], pair_f, b / (b - 3) * trace / (b - 1)


def _coordinate(
    kinks: Sequence[float], dimension: int, radius: float
) -> tuple[Float64[Tensor, " nodes"], Float64[Tensor, " nodes"]]:
    """Nodes and weights for one coordinate of a uniform point on a sphere of this radius in R^dimension.

    In the angle θ with coordinate radius·sin θ the density is cos^{dimension−2} θ: smooth, so that
    Gauss–Legendre panels that end at the kinks converge exponentially.
    """
    reach = min(math.pi / 2, _REACH / math.sqrt(dimension))
    edges = np.linspace(-reach, reach, _PANELS + 1)
    if radius > 0:
        inside = [math.asin(k / radius) for k in kinks if abs(k) < radius]
        edges = np.unique(np.concatenate([edges, [a for a in inside if abs(a) < reach]]))
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    half = np.diff(edges)[:, None] / 2
    theta = (edges[:-1, None] + half + half * nodes).ravel()
    density = (half * weights).ravel() * np.cos(theta) ** (dimension - 2)
    return (
        torch.from_numpy(radius * np.sin(theta)),
        torch.from_numpy(density / density.sum()),
    )
