"""The training protocol of the depth experiments: plain SGD, every epoch measured, resumable."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from firstlight.builders import log_gradients
from firstlight.data import Dataset
from firstlight.doors import checked
from firstlight.errors import DomainError
from firstlight.files.plain_data import Record
from firstlight.measure import isometry_gap
from firstlight.training._epoch import Epoch
from firstlight.training._keeper import Keeper
from firstlight.training.evaluation import accuracy, recalibrated_accuracies


@dataclass(frozen=True)
class TrainingRun:
    """A training run: one `Epoch` each, and how it ended.

    Attributes
    ----------
    history
        Epoch 0 and every epoch trained.
    diverged
        Whether the loss or a weight became NaN or infinite, at which the run stopped.
    resumed_from
        Epoch that was read from a checkpoint; 0 for a fresh run.
    """

    history: tuple[Epoch, ...]
    diverged: bool
    resumed_from: int = 0

    def column(self, name: str) -> list[float]:
        """One quantity over the epochs, such as ``"test_accuracy"``."""
        return [float(getattr(row, name)) for row in self.history]


@checked
def train(
    model: nn.Sequential,
    data: Dataset,
    test: Dataset,
    *,
    epochs: int,
    learning_rate: float = 0.001,
    batch: int = 100,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    on_epoch: Callable[[Epoch], object] | None = None,
) -> TrainingRun:
    """Train a classifier by plain SGD on the cross-entropy, as the paper does, and measure every epoch.

    Every epoch is judged on recalibrated statistics; beside them stand the two that mislead. Seed and epoch give the
    order of samples, so a resumed run gives the numbers of an uninterrupted one.

    Parameters
    ----------
    model
        A sequential classifier, such as ``firstlight.builders.isometric_mlp``; trained in place.
    data, test
        Training and test samples with classes.
    epochs
        Total number of epochs, those of a checkpoint included.
    learning_rate, batch
        Step size and samples per step. A last batch that is not full is dropped: it would lack rank.
    seed
        Of the order of samples.
    checkpoint
        File to resume from if it exists, and to write after every epoch, atomically. The checkpoint belongs to this
        data, this architecture, these settings and these versions of firstlight, torch and numpy.
    on_epoch
        Called with every new `Epoch`, for a log.

    Returns
    -------
    TrainingRun
        The history, up to where the loss is no longer finite.

    Raises
    ------
    DomainError
        If there are no classes, or fewer samples than one batch.
    LoadError
        If the checkpoint is damaged, or belongs to another model, other data, another protocol or other versions.
    RunError
        If another process trains with this checkpoint.
    WriteError
        If the checkpoint cannot be written; that of the epoch before is kept.

    References
    ----------
    Meterez et al., ICLR 2024, section 5 and figures 5 and 6 (SGD, rate 0.001, batch = width = 100).

    Examples
    --------
    >>> from firstlight import builders, data, training
    >>> model = builders.isometric_mlp(64, 10, depth=10, width=32)
    >>> digits = data.load("digits", count=200)
    >>> run = training.train(model, digits, digits, epochs=2, learning_rate=0.05, batch=50)
    >>> run.diverged, len(run.history)
    (False, 3)
    """
    targets = _checked(data, test, batch=batch, epochs=epochs)
    protocol = {"learning_rate": float(learning_rate), "batch": batch, "seed": seed, "samples": len(data)}
    with Keeper.opened(checkpoint, model, data, test, protocol) as keeper:
        return _train(model, data, test, targets, epochs, protocol, keeper, on_epoch)


def _train(
    model: nn.Sequential,
    data: Dataset,
    test: Dataset,
    targets: Tensor,
    epochs: int,
    protocol: Record,
    keeper: Keeper,
    on_epoch: Callable[[Epoch], object] | None,
) -> TrainingRun:
    batch, seed = protocol["batch"], protocol["seed"]
    optimiser = torch.optim.SGD(model.parameters(), lr=protocol["learning_rate"])
    history, diverged = keeper.resume(model)
    resumed = history[-1].epoch if history else 0
    probe = (data.inputs[:batch], targets[:batch])
    if not history:
        history.append(_measure(model, data, test, probe, Epoch(0)))
        _tell(on_epoch, history[-1])
    for epoch in range(history[-1].epoch + 1, epochs + 1):
        if diverged:
            break
        start = time.perf_counter()
        loss = _one_epoch(model, optimiser, data, batch, seed + 1_000_003 * epoch)
        diverged = not math.isfinite(loss) or not _finite(model)
        row = Epoch(epoch, loss=loss, seconds=time.perf_counter() - start)
        history.append(row if diverged else _measure(model, data, test, probe, row))
        _tell(on_epoch, history[-1])
        keeper.save(model, history, diverged)
    return TrainingRun(tuple(history), diverged, resumed)


def _checked(data: Dataset, test: Dataset, *, batch: int, epochs: int) -> Tensor:
    """The training targets, if there is something to train on."""
    if data.targets is None or test.targets is None or len(data) < batch or batch < 2 or epochs < 0:
        raise DomainError(
            f"while training: expected classes, epochs ≥ 0 and at least one batch of ≥ 2 samples, got "
            f"{len(data)} samples for batches of {batch} and {epochs} epochs; lower the batch"
        )
    if data.targets.is_floating_point() or data.targets.ndim != 1:
        raise DomainError(
            f"while training: expected one class number for each sample, got targets of {data.targets.dtype} and shape "
            f"{tuple(data.targets.shape)}; the protocol trains classifiers"
        )
    return data.targets


def _one_epoch(
    model: nn.Module, optimiser: torch.optim.Optimizer, data: Dataset, batch: int, seed: int
) -> float:
    targets = data.targets
    assert targets is not None
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
    model.train()
    total, steps = 0.0, 0
    for start in range(0, len(order) - batch + 1, batch):
        rows = order[start : start + batch]
        optimiser.zero_grad()
        loss = functional.cross_entropy(model(data.inputs[rows]), targets[rows])
        value = float(loss.detach())
        if not math.isfinite(value):
            return value
        loss.backward()
        optimiser.step()
        total, steps = total + value, steps + 1
    return total / steps


def _measure(
    model: nn.Sequential, data: Dataset, test: Dataset, probe: tuple[Tensor, Tensor], row: Epoch
) -> Epoch:
    values = asdict(row)
    targets, test_targets = data.targets, test.targets
    assert targets is not None
    assert test_targets is not None
    values["train_accuracy"], values["test_accuracy"] = recalibrated_accuracies(
        model, data.inputs, (data.inputs, targets), (test.inputs, test_targets)
    )
    values["test_accuracy_batch"] = accuracy(
        model, test.inputs, test_targets, statistics="batch", batch=len(probe[0])
    )
    if any(getattr(module, "track_running_stats", False) for module in model.modules()):
        values["test_accuracy_running"] = accuracy(model, test.inputs, test_targets, statistics="running")
    square = [p.detach() for p in model.parameters() if p.ndim == 2 and p.shape[0] == p.shape[1]]
    if square:
        gaps = isometry_gap(torch.stack(square), method="fast")
        middle = gaps[len(gaps) // 4 : max(3 * len(gaps) // 4, len(gaps) // 4 + 1)]
        values |= {
            "weight_gap": float(gaps.mean()), "weight_gap_max": float(gaps.max()),
            "weight_gap_middle": float(middle.mean()),
        }  # fmt: skip
    model.train()
    grads = log_gradients(model, probe[0], lambda y: functional.cross_entropy(y, probe[1]))
    inner = grads.log_norms[1:-1] if len(grads.log_norms) > 2 else grads.log_norms
    values |= {"log_grad_first": float(inner[0]), "log_grad_last": float(inner[-1])}
    values["feature_gap"] = _feature_gap(model, data.inputs[: 2 * len(probe[0])])
    return Epoch(**values)


@torch.no_grad()
def _feature_gap(model: nn.Sequential, x: Tensor) -> float:
    last = math.nan
    features = None
    for module in model:
        x = module(x)
        if "BatchNorm" in type(module).__name__:
            features = x
    if features is not None:
        last = float(isometry_gap(features, rtol=1e-6))
    return last


def _finite(model: nn.Module) -> bool:
    return all(bool(torch.isfinite(p).all()) for p in model.parameters())


def _tell(on_epoch: Callable[[Epoch], object] | None, row: Epoch) -> None:
    if on_epoch is not None:
        on_epoch(row)
