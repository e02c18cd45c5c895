"""NNGP and NTK kernels of random networks, for any activation, between sets of inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from firstlight import activations, gauss
from firstlight.errors import DomainError
from firstlight.network import RandomNetwork
from firstlight.theory.layer import LayerMap, weight_variance

# Kernel entries handled at once: a block of each working array stays in the cache.
_BLOCK = 16_384
_ORDERS = (64, 128, 256, 512, 1024)


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

    with the residual and dropout terms of ``LayerMap``. In the ``"ntk"`` parametrisation weights are N(0, 1)
    and σ_w/√n stands outside; in the ``"standard"`` one gradients by weights are n times larger and those by
    biases are not scaled by σ_b, so that :math:`Θ^{l+1} = n_l E φφ + 1 + …`.

    Closed forms where there are, a Hermite series for smooth activations (relative error 1e-12), quadrature
    interpolated in θ for kinked ones when all inputs have one norm, else pair by pair.

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
    n1, n2 = len(a), len(a if b is None else b)
    rows, columns = torch.triu_indices(n1, n1) if b is None else _all_pairs(n1, n2)
    first = network.sigma_w**2 * weight_variance(network.first_layer)
    bias = network.sigma_b**2
    size = a.shape[1]
    q1 = first * (a * a).mean(1) + bias
    q2 = q1 if b is None else first * (b * b).mean(1) + bias
    k = first * ((a @ (a if b is None else b).T)[rows, columns] / size) + bias
    theta = k.clone()
    if network.parametrisation == "standard":
        theta = (k - bias) / first * size + 1.0 if first > 0 else torch.ones_like(k)
    want = "ntk" in get
    k, theta_, (q1, q2) = _deep(network, layer, k, theta if want else None, q1, q2, rows, columns)
    return Kernels(
        _unpack(k, rows, columns, n1, n2, b is None),
        None if theta_ is None else _unpack(theta_, rows, columns, n1, n2, b is None),
        q1,
        q2,
    )


def _inputs(x: Tensor) -> Tensor:
    values = torch.as_tensor(x).detach().cpu().to(torch.float64)
    values = values.reshape(len(values), -1) if values.ndim > 1 else values
    if values.ndim != 2 or values.numel() == 0 or not bool(torch.isfinite(values).all()):
        raise DomainError(
            f"while computing kernels: expected finite inputs of shape (n, d), got shape {tuple(values.shape)}"
        )
    return values


def _all_pairs(n1: int, n2: int) -> Tensor:
    return torch.stack([torch.arange(n1).repeat_interleave(n2), torch.arange(n2).repeat(n1)])


def _unpack(values: Tensor, rows: Tensor, columns: Tensor, n1: int, n2: int, symmetric: bool) -> Tensor:
    if not symmetric:
        return values.reshape(n1, n2)
    result = torch.empty(n1, n1, dtype=values.dtype)
    result[rows, columns] = values
    result[columns, rows] = values
    return result


def _deep(
    network: RandomNetwork,
    layer: LayerMap,
    k: Tensor,
    theta: Tensor | None,
    q1: Tensor,
    q2: Tensor,
    rows: Tensor,
    columns: Tensor,
) -> tuple[Tensor, Tensor | None, tuple[Tensor, Tensor]]:
    """All layers after the first; diagonals first, as they need no pairs, then the pairs block by block."""
    paths = [(q1, q2)]
    for _ in range(network.depth - 1):
        a = layer.variance(paths[-1][0])
        paths.append((a, a if q1 is q2 else layer.variance(paths[-1][1])))
    steps = [_stepper(layer, a, b) for a, b in paths[:-1]]
    same = bool((q1 == q1[0]).all() and (q2 == q1[0]).all())
    for start in range(0, len(k), _BLOCK):
        part = slice(start, start + _BLOCK)
        r, c = rows[part], columns[part]
        kb, tb = k[part], None if theta is None else theta[part]
        for i, step in enumerate(steps):
            a, b = paths[i]
            u, v = (a[:1], b[:1]) if same else (a[r], b[c])
            kb, tb = _one(network, layer, step, kb, tb, (u, v, r, c), i)
        k[part] = kb
        if theta is not None and tb is not None:
            theta[part] = tb
    return k, theta, paths[-1]


def _one(
    network: RandomNetwork,
    layer: LayerMap,
    step: Callable[..., tuple[Tensor, Tensor | None]],
    k: Tensor,
    theta: Tensor | None,
    at: tuple[Tensor, Tensor, Tensor, Tensor],
    index: int,
) -> tuple[Tensor, Tensor | None]:
    """One layer for a block of pairs."""
    u, v, r, c = at
    if layer.norm:
        scale = torch.rsqrt(u * v)
        dual, slope = step(k * scale, torch.ones_like(u), torch.ones_like(v), r, c, theta is not None)
        slope = None if slope is None else slope * scale
    else:
        dual, slope = step(k, u, v, r, c, theta is not None)
    own, branch = layer.skip**2, layer.branch**2
    after = dual * (branch * layer.sigma_w2)
    if own:
        after += own * k
    after += branch * layer.sigma_b2
    if theta is None or slope is None:
        return after, None
    theta = (
        slope.mul_(theta).mul_(branch * layer.sigma_w2)
        if not own
        else theta * (own + branch * layer.sigma_w2 * slope)
    )
    if network.parametrisation == "ntk":
        theta += branch * (layer.sigma_w2 * dual + layer.sigma_b2)
    else:
        theta += branch * (network.widths[index] * dual + 1.0)
    return after, theta


def _stepper(layer: LayerMap, q1: Tensor, q2: Tensor) -> Callable[..., tuple[Tensor, Tensor | None]]:
    """(k, u, v, rows, columns, want slope) → E φφ and E φ'φ' for a block of pairs."""
    phi = layer.phi
    ones = torch.ones(1, dtype=torch.float64)
    a, b = (ones, ones) if layer.norm else (q1, q2)
    form = activations.closed_form(phi)
    if form is not None:

        def closed(
            k: Tensor, u: Tensor, v: Tensor, r: Tensor, c: Tensor, want: bool
        ) -> tuple[Tensor, Tensor | None]:
            product = u * v
            # rounding may leave |k| a hair above √(uv): a negative rest would be NaN
            rest = torch.addcmul(product, k, k, value=-1).clamp_(min=0)
            return form.dual(torch, u, v, k, rest), form.slope(torch, u, v, k, rest) if want else None

        return closed
    if not phi.kinks:
        series = _series(phi, a, b)
        if series is not None:
            return series
    return _numeric(phi, a, b)


def _series(
    phi: activations.Activation, q1: Tensor, q2: Tensor
) -> Callable[..., tuple[Tensor, Tensor | None]] | None:
    """Horner's rule in the correlation, with Hermite coefficients of each input's own variance."""
    both = torch.cat([q1, q2]) if q1 is not q2 else q1
    if bool((both <= 0).any()):
        return None
    unique, inverse = torch.unique(both, return_inverse=True)
    for order in _ORDERS:
        a = gauss.hermite_coefficients(phi, unique, order)
        total = (a * a).sum(1, keepdim=True)
        if bool(((a[:, -6:] ** 2).sum(1, keepdim=True) <= 1e-13 * total).all()):
            break
    else:
        return None
    used = int(torch.nonzero(((a * a) > 1e-17 * total).any(0)).max()) + 1
    left = a[:, :used][inverse[: len(q1)]]
    right = a[:, :used][inverse[-len(q2) :]]
    single = len(unique) == 1
    parity = phi.parity

    def series(
        k: Tensor, u: Tensor, v: Tensor, r: Tensor, c: Tensor, want: bool
    ) -> tuple[Tensor, Tensor | None]:
        rho = (k * torch.rsqrt(u * v)).clamp_(-1, 1)
        if single:
            return _horner(rho, (left[0] ** 2).tolist(), float(unique[0]), parity, want)
        value, slope = torch.zeros_like(rho), torch.zeros_like(rho) if want else None
        lt, rt = left.T.contiguous(), right.T.contiguous()
        for j in range(used - 1, -1, -1):
            if slope is not None:
                slope.mul_(rho).add_(value)
            value.mul_(rho).addcmul_(lt[j][r], rt[j][c])
        return value, None if slope is None else slope.mul_(torch.rsqrt(u * v))

    return series


def _horner(
    rho: Tensor, a2: list[float], q: float, parity: str | None, want: bool
) -> tuple[Tensor, Tensor | None]:
    """Σ a_k² ρ^k and its derivative over q; half of the terms where φ is odd or even."""
    if parity is None:
        value, slope = torch.full_like(rho, a2[-1]), torch.zeros_like(rho)
        for term in reversed(a2[:-1]):
            if want:
                slope.mul_(rho).add_(value)
            value.mul_(rho).add_(term)
        return value, slope.div_(q) if want else None
    start = 1 if parity == "odd" else 0
    terms = a2[start::2]
    square = rho * rho
    value, slope = torch.full_like(rho, terms[-1]), torch.zeros_like(rho)
    for term in reversed(terms[:-1]):
        if want:
            slope.mul_(square).add_(value)
        value.mul_(square).add_(term)
    # f = ρ^s P(ρ²): f' = s ρ^{s−1} P + 2 ρ^{s+1} P'
    if start:
        gradient = slope.mul_(square).mul_(2).add_(value) if want else None
        value = value * rho
    else:
        gradient = slope.mul_(rho).mul_(2) if want else None
    return value, None if gradient is None else gradient.div_(q)


def _numeric(
    phi: activations.Activation, q1: Tensor, q2: Tensor
) -> Callable[..., tuple[Tensor, Tensor | None]]:
    from firstlight.theory.dual_map import DualMap

    level = float(q1[0])
    single = bool((q1 == level).all() and (q2 == level).all())

    def numeric(
        k: Tensor, u: Tensor, v: Tensor, r: Tensor, c: Tensor, want: bool
    ) -> tuple[Tensor, Tensor | None]:
        rho = (k * torch.rsqrt(u * v)).clamp(-1, 1)
        if single:
            dual = DualMap.of(phi, level)
            value = torch.from_numpy(np.asarray(dual(rho.numpy())))
            return value, torch.from_numpy(np.asarray(dual.slope(rho.numpy()))) if want else None
        value = activations.dual(phi, u, v, rho)
        return value, activations.dual_slope(phi, u, v, rho) if want else None

    return numeric
