"""NNGP and NTK kernels of random convolutional networks, for any activation, between sets of images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from firstlight import activations
from firstlight.clean_room import clean
from firstlight.doors import checked
from firstlight.errors import DomainError
from firstlight.theory.kernels.convolution import ConvolutionalNetwork
from firstlight.theory.kernels.networks import Kernels
from firstlight.theory.maps.layer import LayerMap, weight_variance
from firstlight.theory.maps.pair_maps import pair_maps

# Covariance entries handled at once: 16 MB an array.
_BLOCK = 2_000_000


@checked
@clean
def convolutional_kernels(
    network: ConvolutionalNetwork,
    x1: Float[Tensor, "n1 channels *image"],
    x2: Float[Tensor, "n2 channels_ *image_"] | None = None,
    *,
    get: Sequence[str] = ("nngp", "ntk"),
) -> Kernels:
    r"""Kernels of a convolutional network with infinitely many channels.

    .. math::
        K^{l+1}_{pp'} = \frac{σ_w^2}{k} \sum_δ E φ(u_{p+δ})φ(v_{p'+δ}) + σ_b^2, \qquad
        Θ^{l+1}_{pp'} = K^{l+1}_{pp'} + \frac{σ_w^2}{k} \sum_δ E φ'(u_{p+δ})φ'(v_{p'+δ})\, Θ^l_{p+δ,p'+δ}

    with the residual terms of ``LayerMap``; the readout averages over p = p' (``"flatten"``) or over all p and p'
    (``"pool"``). Flattening needs only p = p', which pooling makes P times dearer for P positions. In the
    ``"standard"`` parametrisation the gradient by a layer's weights is kernel × channels times larger, and that
    by the biases is not scaled by σ_b.

    Closed forms where there are, a Hermite series for smooth activations, ``PiecewiseLinear`` for those, and
    quadrature pair by pair (some ms each) for what is left.

    Parameters
    ----------
    network
        The network.
    x1, x2
        Images, (n, channels, length) or (n, channels, height, width); x2 is x1 if None, and only half of the
        kernel is then computed.
    get
        ``"nngp"``, ``"ntk"`` or both.

    Raises
    ------
    DomainError
        Images that are empty, not finite or of different sizes, or smaller than the kernel.

    Notes
    -----
    Novak et al. (2019), *Bayesian deep convolutional networks with many channels are Gaussian processes*; Arora et
    al. (2019), *On exact computation with an infinitely wide neural net*.

    Examples
    --------
    >>> import torch
    >>> from firstlight import RandomNetwork
    >>> from firstlight.theory import ConvolutionalNetwork, convolutional_kernels
    >>> layers = RandomNetwork(depth=2, width=8, activation="relu", sigma_w=2**0.5, parametrisation="ntk")
    >>> pool = ConvolutionalNetwork(layers=layers, kernel=1, readout="pool")
    >>> image = torch.tensor([[[1.0, -1.0]]])
    >>> round(float(convolutional_kernels(pool, image).nngp), 9)  # the variance 2 at each position, 0 between the two
    1.0
    """
    if not set(get) <= {"nngp", "ntk"} or not get:
        raise DomainError(f"while computing kernels: expected get among 'nngp' and 'ntk', got {tuple(get)}")
    a = _images(x1)
    b = a if x2 is None else _images(x2)
    if a.shape[1:] != b.shape[1:]:
        raise DomainError(
            f"while computing kernels: expected images of one shape, got {tuple(a.shape[1:])} and {tuple(b.shape[1:])}"
        )
    network.sizes(tuple(a.shape[2:]))
    want = "ntk" in get
    run = _Recursion(network, LayerMap.of(network.layers), a, b)
    nngp = torch.empty(len(a), len(b), dtype=torch.float64)
    ntk = torch.empty_like(nngp) if want else None
    rows = max(1, _BLOCK // (len(b) * run.entries))
    columns = max(1, _BLOCK // run.entries)
    for i in range(0, len(a), rows):
        # with one set of images the part below the diagonal is known by symmetry
        for j in range(i if x2 is None else 0, len(b), columns):
            r, c = slice(i, i + rows), slice(j, j + columns)
            k, theta = run.block(r, c, want)
            nngp[r, c] = k
            if ntk is not None and theta is not None:
                ntk[r, c] = theta
    if x2 is None:
        nngp, ntk = _mirrored(nngp), None if ntk is None else _mirrored(ntk)
    q1 = run.variance(run.paths1, a)
    return Kernels(nngp, ntk, q1, q1 if x2 is None else run.variance(run.paths2, b))


def _mirrored(values: Tensor) -> Tensor:
    return values.triu() + values.triu(1).T


def _images(x: Tensor) -> Tensor:
    values = torch.as_tensor(x).detach().cpu().to(torch.float64)
    if values.ndim not in (3, 4) or values.numel() == 0 or not bool(torch.isfinite(values).all()):
        raise DomainError(
            "while computing kernels: expected finite images of shape (n, channels, length) or (n, channels, height, "
            f"width), got shape {tuple(values.shape)}"
        )
    return values


@dataclass(eq=False)
class _Recursion:
    """All layers for blocks of pairs of images."""

    network: ConvolutionalNetwork
    layer: LayerMap
    a: Tensor
    b: Tensor

    def __post_init__(self) -> None:
        self.pool = self.network.readout == "pool"
        self.dims = self.a.ndim - 2
        space = math.prod(self.a.shape[2:])
        self.entries = space**2 if self.pool else space
        self.first = self.network.layers.sigma_w**2 * weight_variance(self.network.layers.first_layer)
        self.paths1 = self._variances(self.a)
        self.paths2 = self.paths1 if self.b is self.a else self._variances(self.b)
        self.steps = pair_maps(
            self.layer.phi, [self._row(q) for q in self.paths1], [self._column(q) for q in self.paths2]
        )

    def _variances(self, x: Tensor) -> list[Tensor]:
        """Variance of every position before each activation, (n, *image): convolutions only."""
        axes, bias = tuple((1 + d,) for d in range(self.dims)), self.network.layers.sigma_b**2
        if self.network.layers.depth == 1:
            return []
        q = self.first * self.network.average((x * x).mean(1), *axes) + bias
        paths = [q]
        for _ in range(self.network.layers.depth - 2):
            inner = self.network.average(activations.second(self.layer.phi, q), *axes)
            q = self._joined(q, self.layer.sigma_w2 * inner + bias)
            paths.append(q)
        return paths

    def variance(self, paths: list[Tensor], x: Tensor) -> Tensor:
        """Variance of the outputs, from the diagonal of the kernel where pooling mixes positions."""
        if not paths and not self.pool:
            return self.first * (x * x).flatten(1).mean(1) + self.network.layers.sigma_b**2
        if self.pool:
            one = [_Recursion(self.network, self.layer, image[None], image[None]) for image in x]
            return torch.cat([r.block(slice(0, 1), slice(0, 1), False)[0].flatten() for r in one])
        inner = activations.second(self.layer.phi, paths[-1]).flatten(1).mean(1)
        return self.layer.sigma_w2 * inner + self.network.layers.sigma_b**2

    def _row(self, q: Tensor) -> Tensor:
        return q.reshape(len(q), 1, *q.shape[1:], *([1] * self.dims if self.pool else []))

    def _column(self, q: Tensor) -> Tensor:
        return q.reshape(1, len(q), *([1] * self.dims if self.pool else []), *q.shape[1:])

    def _joined(self, before: Tensor, fresh: Tensor) -> Tensor:
        """The identity path and the weight path; without the former the sizes may differ."""
        fresh = self.layer.branch**2 * fresh
        return self.layer.skip**2 * before + fresh if self.layer.skip else fresh

    def _average(self, values: Tensor) -> Tensor:
        first = range(2, 2 + self.dims)
        groups = [(d, d + self.dims) for d in first] if self.pool else [(d,) for d in first]
        return self.network.average(values, *groups)

    def block(self, rows: slice, columns: slice, want: bool) -> tuple[Tensor, Tensor | None]:
        """NNGP and NTK of a block of images."""
        net = self.network.layers
        x, y = self.a[rows], self.b[columns]
        channels, ntk = x.shape[1], net.parametrisation == "ntk"
        bias, size = net.sigma_b**2, self.network.kernel**self.dims
        letters = "stuv"[: self.dims]
        other = "wxyz"[: self.dims] if self.pool else letters
        out = f"ij{letters}{other if self.pool else ''}"
        raw = torch.einsum(f"ic{letters},jc{other}->{out}", x, y) / channels
        if net.depth == 1:
            mean = raw.flatten(2).mean(2)
            fan = channels * (1 if self.pool else x[0, 0].numel())
            return self.first * mean + bias, (
                self.first * mean + bias if ntk else fan * mean + 1
            ) if want else None
        inner = self._average(raw)
        k = self.first * inner + bias
        theta = None if not want else k.clone() if ntk else size * channels * inner + 1.0
        for step, width in zip(self.steps[:-1], net.widths):
            dual, slope = step(k, rows, columns, want)
            inner = self._average(dual)
            k = self._joined(k, self.layer.sigma_w2 * inner + bias)
            if theta is not None and slope is not None:
                through = self.layer.sigma_w2 * self._average(slope * theta)
                last = self.layer.sigma_w2 * inner + bias if ntk else size * width * inner + 1.0
                theta = self._joined(theta, through + last)
        dual, slope = self.steps[-1](k, rows, columns, want)
        mean = dual.flatten(2).mean(2)
        k = self.layer.sigma_w2 * mean + bias
        if theta is None or slope is None:
            return k, None
        fan = net.widths[-2] * (1 if self.pool else dual[0, 0].numel())
        through = self.layer.sigma_w2 * (slope * theta).flatten(2).mean(2)
        return k, through + (k if ntk else fan * mean + 1.0)
