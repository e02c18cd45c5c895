"""Accuracy of a batch-normalised network on each of the statistics it could be evaluated with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from firstlight.builders import BatchNorm, recalibrate_
from firstlight.doors import checked
from firstlight.errors import DomainError

Statistics = Literal["recalibrated", "running", "batch"]


@checked
def accuracy(
    model: nn.Module,
    inputs: Float[Tensor, n * sample],
    targets: Int64[Tensor, " n"],
    *,
    statistics: Statistics = "recalibrated",
    calibration: Float[Tensor, m * sample] | None = None,
    batch: int = 100,
) -> float:
    """Share of samples a model classifies right; the model is left as it was.

    Parameters
    ----------
    model
        A classifier.
    inputs, targets
        What it is judged on.
    statistics
        ``"recalibrated"``: those of ``calibration``, layer by layer: the honest choice. ``"running"``: the
        running averages of training, which fail deep linear networks. ``"batch"``: each batch of ``batch``
        samples by itself, so that a prediction depends on its neighbours.
    calibration
        Training inputs, for ``"recalibrated"``.
    batch
        Batch size for ``"batch"``.

    Returns
    -------
    float
        Accuracy in [0, 1]; NaN outputs count as wrong.

    Raises
    ------
    DomainError
        If there are no samples, or ``calibration`` is missing.

    Examples
    --------
    >>> import torch
    >>> from firstlight.builders import isometric_mlp
    >>> from firstlight.training import accuracy
    >>> x, y = torch.randn(60, 8), torch.zeros(60, dtype=torch.long)
    >>> 0 <= accuracy(isometric_mlp(8, 3, depth=5, width=8), x, y, calibration=x) <= 1
    True
    """
    if len(inputs) == 0:
        raise DomainError("while measuring accuracy: expected at least one sample, got none")
    with torch.no_grad(), _restored(model):
        if statistics == "recalibrated":
            if calibration is None:
                raise DomainError(
                    "while measuring accuracy: expected calibration inputs for recalibrated statistics, got "
                    "none; pass training inputs"
                )
            recalibrate_(model, calibration)
            model.eval()
            outputs = model(inputs)
        elif statistics == "running":
            model.eval()
            outputs = model(inputs)
        else:
            # one sample left over would be a batch of one
            size = batch if len(inputs) % batch != 1 else batch + 1
            model.train()
            outputs = torch.cat([model(part) for part in inputs.split(size)])
    return _share(outputs, targets)


def recalibrated_accuracies(
    model: nn.Module, calibration: Tensor, *sets: tuple[Tensor, Tensor]
) -> tuple[float, ...]:
    """Accuracy on several sets of (inputs, targets) after one recalibration, if the model has batch norms.

    The model is left as it was.
    """
    with torch.no_grad(), _restored(model):
        if any("BatchNorm" in type(module).__name__ for module in model.modules()):
            recalibrate_(model, calibration)
        model.eval()
        return tuple(_share(model(inputs), targets) for inputs, targets in sets)


def _share(outputs: Tensor, targets: Tensor) -> float:
    right = outputs.argmax(dim=1) == targets
    return float((right & ~outputs.isnan().any(dim=1)).double().mean())


@contextmanager
def _restored(model: nn.Module) -> Iterator[None]:
    """Put back every mode and buffer that evaluation changes."""
    modes = {module: module.training for module in model.modules()}
    tracking = {m: m.track_running_stats for m in model.modules() if isinstance(m, BatchNorm)}
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    for norm in tracking:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm, tracked in tracking.items():
            norm.track_running_stats = tracked
        for buffer, value in buffers:
            buffer.copy_(value)
        for module, mode in modes.items():
            module.training = mode
