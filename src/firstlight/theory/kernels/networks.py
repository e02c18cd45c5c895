"""NNGP and NTK kernels of random networks, for any activation, between sets of inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from firstlight import activations
from firstlight.activations import Activation
from firstlight.clean_room import clean
from firstlight.doors import checked
from firstlight.errors import DomainError
from firstlight.gauss.windows import LogWindows
from firstlight.network import RandomNetwork
from firstlight.theory.kernels._layers import LayerPlan, advance
from firstlight.theory.maps.layer import LayerMap, weight_variance

# A tile of pairs goes through all layers at once: its working arrays, 256 KB each, stay in the cache.
_ROWS, _COLUMNS = 64, 512


@dataclass(frozen=True, eq=False)
class Kernels:
    """Kernels between two sets of inputs, in float64.

    Attributes
    ----------
    nngp
        Covariance E z(x) z(x') of a unit of the last layer, (n₁, n₂).
    ntk
        E ⟨∂z(x)/∂θ, ∂z(x')/∂θ⟩ summed over all parameters, (n₁, n₂); None if it was not asked for.
    q1, q2
        Variances of the last layer for the two sets.
    """

    nngp: Tensor
    ntk: Tensor | None
    q1: Tensor
    q2: Tensor

    def __repr__(self) -> str:
        from firstlight.render.brief import one_line

        kinds = "NNGP" if self.ntk is None else "NNGP and NTK"
        return one_line("Kernels", kinds=kinds, shape=tuple(self.nngp.shape))


@checked
@clean
def kernels(
    network: RandomNetwork,
    x1: Float[Tensor, "n1 d"],
    x2: Float[Tensor, "n2 _"] | None = None,
    *,
    get: Sequence[str] = ("nngp", "ntk"),
) -> Kernels:
    r"""Exact infinite-width kernels of a network.

    .. math::
        K^1 = σ_w^2 \tfrac{⟨x, x'⟩}{n_0} + σ_b^2, \quad K^{l+1} = σ_w^2 E φ(u)φ(v) + σ_b^2, \\
        Θ^{l+1} = K^{l+1} + σ_w^2 E φ'(u)φ'(v)\; Θ^l, \qquad Θ^1 = K^1

    The kernels have the residual and dropout terms of ``LayerMap`` too. φ' is the slope that the backward pass uses:
    the slope of ``Activation.backward`` where an activation has one. So Θ is the product of the gradients that
    autograd gives.

    In the ``"ntk"`` parametrisation weights are N(0, 1), and σ_w/√n stands outside. In the ``"standard"``
    parametrisation gradients by weights are n times larger, and gradients by biases are not scaled by σ_b:
    :math:`Θ^{l+1} = n_l E φφ + 1 + …`.

    An activation with a closed form uses that form. A smooth activation uses a Hermite series (relative error 1e-12).
    A kinked activation uses quadrature: interpolated in θ when all inputs have one norm, and pair by pair otherwise.

    Parameters
    ----------
    network
        The network; its ``depth`` weight layers, the last of which gives the kernel.
    x1, x2
        Inputs, one a row; x2 is x1 if None, and only half of the kernel is then computed.
    get
        ``"nngp"``, ``"ntk"`` or both.

    Raises
    ------
    DomainError
        Inputs that are empty, not finite or of different sizes; a normaliser over the batch.

    Notes
    -----
    Cho and Saul (2009), Lee et al. (2018), Jacot et al. (2018).

    Examples
    --------
    >>> import torch
    >>> from firstlight import RandomNetwork
    >>> from firstlight.theory import kernels
    >>> net = RandomNetwork(depth=2, width=8, activation="relu", sigma_w=2**0.5, parametrisation="ntk")
    >>> k = kernels(net, torch.tensor([[1.0, 1.0], [1.0, -1.0]]))
    >>> k.nngp.round(decimals=4).tolist()  # orthogonal inputs: 1/π of the variance
    [[2.0, 0.6366], [0.6366, 2.0]]
    """
    a, b = _inputs(x1), None if x2 is None else _inputs(x2)
    if b is not None and a.shape[1] != b.shape[1]:
        raise DomainError(
            f"while computing kernels: expected inputs of one size, got {a.shape[1]} and {b.shape[1]}"
        )
    if not set(get) <= {"nngp", "ntk"} or not get:
        raise DomainError(f"while computing kernels: expected get among 'nngp' and 'ntk', got {tuple(get)}")
    layer = LayerMap.of(network)
    if layer.norm in ("batch", "batch-uncentred"):
        raise DomainError(
            f"while computing kernels: expected a normaliser of single inputs, got norm={layer.norm!r}; "
            "batch norm has no kernel of two inputs"
        )
    first = network.sigma_w**2 * weight_variance(network.first_layer)
    bias = network.sigma_b**2
    q1 = first * (a * a).mean(1) + bias
    q2 = q1 if b is None else first * (b * b).mean(1) + bias
    plan = _plan(network, layer, q1, q2)
    want = "ntk" in get
    other = a if b is None else b
    k = torch.mm(a, other.T).mul_(1 / a.shape[1])
    theta = None
    if want:
        standard = network.parametrisation == "standard"
        theta = k * a.shape[1] + 1.0 if standard else k * first + bias
    k.mul_(first).add_(bias)
    start = None if theta is None else theta.diagonal().clone()
    exact = b is None and layer.dropout == 0 and plan.sigma_w2 > 0 and plan.layers > 0
    if exact:
        # known by itself; its correlation of 1 would ask for terms that no other pair needs
        k.fill_diagonal_(0.0)
    _deep(plan, k, theta, symmetric=b is None)
    if exact:
        _exact_diagonal(plan, k, theta, start)
    return Kernels(k, theta, plan.q1[-1], plan.q2[-1])


def _inputs(x: Tensor) -> Tensor:
    values = torch.as_tensor(x).detach().cpu().to(torch.float64)
    values = values.reshape(len(values), -1) if values.ndim > 1 else values
    if values.ndim != 2 or values.numel() == 0 or not bool(torch.isfinite(values).all()):
        raise DomainError(
            f"while computing kernels: expected finite inputs of shape (n, d), got shape {tuple(values.shape)}"
        )
    return values


def _plan(network: RandomNetwork, layer: LayerMap, q1: Tensor, q2: Tensor) -> LayerPlan:
    """The layers after the first, with the variances of both sets all the way."""
    second = _numbers(layer.phi, lambda q: activations.second(layer.phi, q))

    def after(q: Tensor) -> Tensor:
        if layer.norm or bool((q <= 0).any()):
            return layer.variance(q)
        inner = layer.sigma_w2 * second(q) / (1 - layer.dropout) + layer.sigma_b2
        return layer.skip**2 * q + layer.branch**2 * inner

    paths = [(q1, q2)]
    for _ in range(network.depth - 1):
        a = after(paths[-1][0])
        paths.append((a, a if q1 is q2 else after(paths[-1][1])))
    left = torch.stack([p[0] for p in paths])
    return LayerPlan(
        phi=layer.phi,
        q1=left,
        q2=left if q1 is q2 else torch.stack([p[1] for p in paths]),
        sigma_w2=layer.sigma_w2,
        sigma_b2=layer.sigma_b2,
        own=layer.skip**2,
        branch=layer.branch**2,
        normed=layer.norm is not None,
        fan_in=tuple(network.widths[:-1]) if network.parametrisation == "standard" else (),
    )


def _numbers(phi: Activation, function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A moment as a function of variances: itself where it has a closed form, else interpolated in log q."""
    if activations.closed_form(phi) is not None or phi.degree is not None:
        return function
    windows = LogWindows(lambda q: function(q)[:, None])
    return lambda q: windows(q)[:, 0]


def _deep(plan: LayerPlan, k: Tensor, theta: Tensor | None, *, symmetric: bool) -> None:
    """All layers in place, tile by tile; of a symmetric kernel the tiles on and above the diagonal."""
    if plan.layers == 0:
        return
    through = advance(plan)
    for top in range(0, k.shape[0], _ROWS):
        rows = slice(top, min(top + _ROWS, k.shape[0]))
        for start in range(top if symmetric else 0, k.shape[1], _COLUMNS):
            columns = slice(start, min(start + _COLUMNS, k.shape[1]))
            part = k[rows, columns].clone()
            gradient = None if theta is None else theta[rows, columns].clone()
            through(part, gradient, rows, columns)
            for whole, tile in ((k, part), (theta, gradient)):
                if whole is not None and tile is not None:
                    whole[rows, columns] = tile
                    if symmetric:
                        _mirror(whole, tile, rows, columns)


def _mirror(whole: Tensor, tile: Tensor, rows: slice, columns: slice) -> None:
    """Copy a tile below the diagonal; one that lies across it has its upper half copied."""
    if rows.start != columns.start:
        whole[columns, rows] = tile.T
        return
    size = rows.stop - rows.start
    whole[rows, rows] = tile[:, :size].triu() + tile[:, :size].triu(1).T
    whole[rows.stop : columns.stop, rows] = tile[:, size:].T


def _exact_diagonal(plan: LayerPlan, k: Tensor, theta: Tensor | None, start: Tensor | None) -> None:
    """Kernels of each input with itself, whose correlation 1 rounding would move by 1e-16 and its angle by 1e-8."""
    k.diagonal().copy_(plan.q1[-1])
    if theta is None or start is None:
        return
    factors = _gradient_factor(plan, plan.q1[:-1])
    for i in range(plan.layers):
        q, after = plan.q1[i], plan.q1[i + 1]
        start = start * factors[i]
        if plan.fan_in:
            second = (after - plan.own * q - plan.branch * plan.sigma_b2) / plan.sigma_w2
            start = start + second * plan.fan_in[i] + plan.branch
        else:
            start = start + after - plan.own * q
    theta.diagonal().copy_(start)


def _gradient_factor(plan: LayerPlan, q: Tensor) -> Tensor:
    """χ of a layer without dropout, for the variances q before it."""
    seen = torch.ones_like(q) if plan.normed else q
    if plan.phi.backward is None and activations.closed_form(plan.phi) is not None:
        slope = activations.dual_slope(plan.phi, seen, seen, 1.0)
    elif plan.normed or bool((q <= 0).any()):
        slope = activations.moments(plan.phi, seen).slope
    else:
        slopes = _numbers(plan.phi, lambda q: activations.moments(plan.phi, q).slope)
        slope = slopes(q.flatten()).view_as(q)
    return plan.own + plan.branch * plan.sigma_w2 * slope * (1 / q if plan.normed else 1.0)
