"""Trained or fresh: whether a weight shows a direction that no independent draw of its entries has."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from firstlight.clean_room import clean

_SHUFFLES = 8
_SMALLEST = 128  # entries below which a spectrum says too little
_LARGEST = 256  # rows and columns that are looked at
# a learnt direction stands this far above the spectrum of shuffled entries, relatively and in standard deviations
_RATIO, _DEVIATIONS = 1.12, 6.0
_ENTRIES = 100_000  # entries whose law is looked at
_LOOKED_AT = 10_000  # the same of every weight that is written, where the looks must cost little
# excess kurtosis, √n times its standard error, and the end in deviations: normal, uniform, normal cut at 2 deviations
_LAWS = ((0.0, 4.9, float("inf")), (-1.2, 1.15, 3.0**0.5), (-0.6344, 2.0, 2.2738))
_STEPS = 24  # of the power iteration: a value that stands out by 12 % is found to 1 %


@clean
@torch.no_grad()
def learnt_direction(weight: Tensor) -> float:
    r"""How far the largest singular value stands above that of the same entries in a random order.

    A fresh draw has independent entries: their order says nothing, whatever their law is, and the largest singular
    value is that of shuffled entries within its fluctuation. Orthogonal and mirrored draws lie below. Training adds
    outer products of errors and signals, whose singular values are larger. Rows and columns are brought to one norm
    first, so that layers scaled unit by unit count as fresh.

    Parameters
    ----------
    weight
        A matrix or a kernel, outputs first; of more than 256 rows or columns the first 256 are read.

    Returns
    -------
    float
        The ratio of the two where it is significant, else 1. The result is also 1 for a weight that is too small,
        that holds copies of entries (mirrored, sparse), or that holds entries that are not finite.

    References
    ----------
    Martin & Mahoney, "Implicit Self-Regularization in Deep Neural Networks", JMLR 2021 (spectra of fresh and trained
    weights).

    Examples
    --------
    >>> import torch
    >>> from firstlight.recipes import learnt_direction
    >>> fresh = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    >>> learnt_direction(fresh)
    1.0
    >>> learnt_direction(fresh + 0.5 * torch.ones(64, 1) @ torch.randn(1, 64)) > 1.5
    True
    """
    corner = weight.detach().flatten(1)[:_LARGEST, :_LARGEST]
    if corner.numel() < _SMALLEST or min(corner.shape) < 4 or not corner.is_floating_point():
        return 1.0
    corner = corner.float().cpu()
    if _plainly_fresh(corner):
        return 1.0
    matrix = weight.detach().flatten(1)[:_LARGEST, :_LARGEST].double().cpu()
    if not bool(matrix.isfinite().all()) or not float(matrix.std()) > 1e-12 * float(matrix.abs().max()):
        return 1.0
    if len(matrix.abs().unique()) < 0.75 * matrix.numel():
        return 1.0  # mirrored or copied on purpose: training copies nothing
    ratio, deviations = _above_shuffled(matrix)
    return ratio if ratio > _RATIO and deviations > _DEVIATIONS else 1.0


def _above_shuffled(matrix: Tensor) -> tuple[float, float]:
    """The largest singular value over that of shuffled entries, and how many deviations it stands above."""
    own = float(_largest(matrix))
    generator = torch.Generator().manual_seed(0)
    first = _shuffled(matrix, generator)
    if own < 0.5 * (1 + _RATIO) * first:  # plainly within the fluctuations
        return 1.0, 0.0
    others = torch.tensor([first, *(_shuffled(matrix, generator) for _ in range(_SHUFFLES - 1))])
    mean, deviation = float(others.mean()), float(others.std())
    return own / mean, (own - mean) / max(deviation, 1e-300)


@torch.no_grad()
def smeared(weight: Tensor) -> bool:
    """Whether entries follow none of the laws that starts draw from: normal, uniform, and normal cut at two deviations.

    The excess kurtosis decides within five standard errors, and for laws with an end the largest entry. Steps of
    training add to a uniform draw what takes its ends away. On its own this says little: starts scale parts apart.
    """
    entries = _standardised(weight)
    if entries is None or len(entries[0].abs().unique()) < 0.75 * len(entries[0]):
        return False
    n = len(entries[0])
    kurtosis, top = _shape(entries[0])
    off = 5.0 * ((kurtosis + 2.0) / (4.0 * n)) ** 0.5 + 0.01
    return not any(
        abs(kurtosis - law) <= 5.0 * scatter / n**0.5 + 0.02 and top <= end * (1.0 + off)
        for law, scatter, end in _LAWS
    )


def default_bound(module: nn.Module, weight: Tensor) -> float:
    """The b of U(−b, b) that torch draws a layer's weight from by itself; NaN for other layers."""
    if isinstance(module, nn.RNNBase | nn.RNNCellBase):
        return float(module.hidden_size) ** -0.5
    if isinstance(module, nn.Bilinear):
        return float(module.in1_features) ** -0.5
    if isinstance(module, nn.Linear | _ConvNd):
        return float(weight[0].numel()) ** -0.5
    return math.nan


@torch.no_grad()
def left_default(weight: Tensor, bound: float) -> bool:
    """Whether entries are nearly, and no longer, torch's own draw from U(−b, b): steps of training have moved them.

    The deviation is still that of the draw within 3 % below and 15 % above, the kurtosis nearly that of a uniform law,
    and the largest entry lies beyond b by more than a uniform law of this deviation allows. No draw of another scale or
    law has all three.
    """
    entries = _standardised(weight, most=_LOOKED_AT) if bound > 0 else None
    if entries is None:
        return False
    deviation = 3.0**0.5 * entries[1] / bound
    scatter = len(entries[0]) ** -0.5  # of the deviation: .447, of the kurtosis: 1.15
    if not 0.97 - 2.0 * scatter < deviation < 1.15:
        return False
    kurtosis, top = _shape(entries[0])
    ends = max(1.05, deviation * (1.03 + 1.5 * scatter))
    return -1.2 - 5.0 * scatter < kurtosis < -0.8 and top * entries[1] / bound > ends


def _standardised(weight: Tensor, *, most: int = _ENTRIES) -> tuple[Tensor, float] | None:
    """Entries over their root mean square, at most so many, and that size; None where there is nothing to judge."""
    entries = weight.detach().flatten()
    if not entries.is_floating_point() or entries.is_meta or len(entries) < _SMALLEST:
        return None
    entries = entries[:: max(1, len(entries) // most)].double().cpu()
    size = float(entries.square().mean()) ** 0.5
    return (entries / size, size) if 0 < size < float("inf") else None


def _shape(entries: Tensor) -> tuple[float, float]:
    """Excess kurtosis and largest entry of standardised entries."""
    return float(entries.pow(4).mean()) - 3.0, float(entries.abs().max())


@torch.no_grad()
def bias_beyond(module: nn.Module, weight: Tensor) -> bool:
    """Whether a layer's bias differs from unit to unit and has left the bounds of torch's own draw, ±b.

    On its own this says little: some starts draw biases. Beside a weight of no usual law both tell of training.
    """
    bias, bound = module._parameters.get("bias"), default_bound(module, weight)
    if bias is None or bias.is_meta or not bound > 0 or len(bias) < 2 or not bias.is_floating_point():
        return False
    values = bias.detach().float()
    return bool((values != values[0]).any()) and float(values.abs().max()) > 1.001 * bound


@clean
@torch.no_grad()
def moved_shifts(model: nn.Module) -> tuple[str, ...]:
    """Normalisers whose shifts differ from unit to unit; every usual start makes them equal, and training does not.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from firstlight.recipes import moved_shifts
    >>> net = nn.Sequential(nn.BatchNorm1d(4))
    >>> moved_shifts(net)
    ()
    >>> _ = net[0].bias.data.copy_(torch.arange(4.0))
    >>> moved_shifts(net)
    ('0',)
    """
    found = []
    for name, module in model.named_modules():
        shift = module._parameters.get("bias")
        norm = isinstance(module, (_BatchNorm, nn.LayerNorm, nn.GroupNorm))
        if not norm or shift is None or shift.is_meta or nn.parameter.is_lazy(shift):
            continue
        if bool((shift != shift.flatten()[0]).any()):
            found.append(name)
    return tuple(found)


def _plainly_fresh(matrix: Tensor) -> bool:
    """Whether the largest singular value lies within 3 % of the edge of the spectrum of independent entries.

    With rows and columns of one norm that edge is (1 + √(n/m)) for n columns of unit norm and m rows.
    """
    matrix = _normed(matrix)
    rows, columns = matrix.shape
    gram = matrix.mT @ matrix if columns <= rows else matrix @ matrix.mT
    vector = torch.full((len(gram), 1), len(gram) ** -0.5)
    vector[::2] *= 1.25  # not orthogonal to what has equal or alternating entries
    for _ in range(_STEPS):
        vector = gram @ vector
        size = float(vector.norm())
        if not 0.0 < size < float("inf"):
            return False
        vector /= size
    edge = 1.0 + (columns / rows) ** 0.5
    return size**0.5 < 1.03 * edge


def _shuffled(matrix: Tensor, generator: torch.Generator) -> float:
    flat = matrix.flatten()
    order = torch.randperm(len(flat), generator=generator)
    return float(_largest(flat[order].view_as(matrix)))


def _normed(matrix: Tensor) -> Tensor:
    """The matrix once rows, then columns, have one norm."""
    for dim in (1, 0):
        norms = matrix.norm(dim=dim, keepdim=True)
        matrix = matrix / torch.where(norms > 0, norms, 1.0)
    return matrix


def _largest(matrix: Tensor) -> Tensor:
    return torch.linalg.matrix_norm(_normed(matrix), 2)
