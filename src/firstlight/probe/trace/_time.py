"""Time: how fast a fused recurrent layer's output forgets its earlier inputs, by running its operation once more."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from firstlight.clean_room import apart
from firstlight.probe.graph._site import Site

# Samples and last steps that are run again; a rate is known from few steps.
SAMPLES, STEPS = 4, 96
# Fewer steps say nothing of a rate.
SHORT = 5
# Units up to which all eigenvalues are computed; beyond, a vector is multiplied this many times.
EXACT, POWERS = 256, 200


@dataclass(eq=False, frozen=True)
class Recurrent:
    """A call of one of torch's fused recurrent operations: no code of the model's runs where the operation runs again.

    Attributes
    ----------
    site
        The row of the call.
    operation
        ``torch.lstm``, ``torch.gru``, ``torch.rnn_tanh`` or ``torch.rnn_relu``.
    inputs
        The sequences: samples × steps × features.
    state
        The first hidden state (and cell state, for an LSTM).
    weights
        The layer's tensors, flat, with or without biases.
    biased, layers, bidirectional
        As torch's operation takes them.
    """

    site: Site
    operation: Callable[..., Any]
    inputs: Tensor
    state: tuple[Tensor, ...]
    weights: tuple[Tensor, ...]
    biased: bool
    layers: int
    bidirectional: bool

    @property
    def steps(self) -> int:
        """Length of the sequence."""
        return self.inputs.shape[1]

    @property
    def matrices(self) -> list[Tensor]:
        """The hidden-to-hidden weight of every layer and direction."""
        each = len(self.weights) // (self.layers * (1 + self.bidirectional))
        return [self.weights[1 + i * each] for i in range(len(self.weights) // max(each, 1))]


@apart
def recurrent(site: Site, operation: Callable[..., Any], args: tuple[Any, ...]) -> Recurrent | None:
    """A call that can be run again; of packed sequences the longest ones."""
    if len(args) != 9:
        return None
    packed = isinstance(args[1], Tensor) and not args[1].is_floating_point()
    state, weights, biased, layers = args[2:6] if packed else args[1:5]
    bidirectional = bool(args[8] if packed else args[7])
    if packed:
        given, lengths = pad_packed_sequence(PackedSequence(args[0].detach(), args[1]), batch_first=True)
        inputs = given[: int((lengths == lengths.max()).sum())]
    else:
        inputs = args[0].detach() if args[8] else args[0].detach().transpose(0, 1)
    if inputs.dim() != 3 or not inputs.is_floating_point():
        return None
    states = (state,) if isinstance(state, Tensor) else tuple(state)
    return Recurrent(
        site, operation, inputs, states, tuple(weights), bool(biased), int(layers), bidirectional
    )


def measure_time(call: Recurrent, seed: int) -> list[float]:
    """Ln ‖∂(v·h_T)/∂x_t‖ for the last steps t of one call, v a random direction and h_T the last output.

    The loss may read every step, and then ∂L/∂h_t says nothing of memory; a direction in the last output does.
    Dropout between layers is left out, so that nothing is drawn.
    """
    if call.steps < SHORT:
        return []
    x = call.inputs[:SAMPLES, -STEPS:].clone().requires_grad_()
    zero = tuple(s.detach()[:, : len(x)].new_zeros(s.shape[0], len(x), s.shape[2]) for s in call.state)
    weights = [w.detach() for w in call.weights]
    with torch.enable_grad():
        state: object = list(zero) if len(zero) > 1 else zero[0]
        options = (call.biased, call.layers, 0.0, True, call.bidirectional, True)
        last = call.operation(x, state, weights, *options)[0][:, -1]
        # the backward direction of a bidirectional layer has just begun at the last step
        forward = last[..., : last.shape[-1] // 2] if call.bidirectional else last
        direction = torch.randn(forward.shape, generator=torch.Generator().manual_seed(seed))
        (gradient,) = torch.autograd.grad((forward * direction.to(forward)).sum(), x)
    norms = torch.linalg.vector_norm(gradient.double(), dim=(0, 2))
    return [float(v) for v in norms.log()]


def spectral_radius(matrices: list[Tensor], seed: int) -> float:
    """Largest |eigenvalue| of recurrent weights; of the candidate's part where a weight holds several gates.

    A square weight is that of a plain layer; three blocks are the gates of a GRU, four those of an LSTM, whose
    candidate stands third in both.

    Examples
    --------
    >>> spectral_radius([0.5 * torch.eye(3)], seed=0)
    0.5
    """
    largest = math.nan
    for matrix in matrices:
        rows, columns = matrix.shape
        if rows % columns or rows // columns not in (1, 3, 4):
            continue
        square = matrix.detach() if rows == columns else matrix.detach()[2 * columns : 3 * columns]
        found = _radius(square.double() if square.device.type != "mps" else square.float().cpu(), seed)
        largest = found if math.isnan(largest) else max(largest, found)
    return largest


def _radius(square: Tensor, seed: int) -> float:
    if not bool(torch.isfinite(square).all()):
        return math.nan
    if len(square) <= EXACT:
        return float(torch.linalg.eigvals(square).abs().amax())
    v = torch.randn(len(square), generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(
        square
    )
    logs = []
    for _ in range(POWERS):
        v = square @ v
        size = float(v.norm())
        if size == 0.0:
            return 0.0
        logs.append(math.log(size))
        v = v / size
    return math.exp(sum(logs[POWERS // 2 :]) / (POWERS - POWERS // 2))
