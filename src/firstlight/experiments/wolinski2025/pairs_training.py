"""What exact pairs are worth in training: deep MLPs on digits or images, beside tanh and ReLU at their edge of chaos.

Everything but activation and first weights is the same: plain SGD by ``firstlight.training``, the same seeds, epochs
and grid of learning rates. Each network is then judged at the rate where it fits its training data best.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from firstlight.builders.dense import draw, mlp
from firstlight.data import Dataset
from firstlight.experiments.meterez2024.training import splits
from firstlight.experiments.wolinski2025.networks import network
from firstlight.training import train

NETWORKS = ("tanh", "relu", "odd(3)", "critical(3)", "positive(3)")
RATES = (0.001, 0.005, 0.025)


@dataclass(frozen=True)
class Trained:
    """One run.

    Attributes
    ----------
    name, depth, width, rate, seed, epochs
        Which network (as in ``wolinski2025.network``), its hidden layers, its learning rate.
    loss, accuracy
        Mean training loss of the last epoch and test accuracy after it; NaN and 0.1 for a run that diverged.
    first_loss
        Mean training loss of the first epoch.
    diverged
        Whether the loss or a weight became infinite.
    """

    name: str
    depth: int
    width: int
    rate: float
    seed: int
    epochs: int
    loss: float
    accuracy: float
    first_loss: float
    diverged: bool


@dataclass(frozen=True)
class Trial:
    """A network at its best learning rate, over seeds: means and standard errors of ``Trained``.

    Attributes
    ----------
    name, depth, width, rate, seeds
        Which, and how many seeds.
    loss, loss_se, accuracy, accuracy_se
        Of the last epoch.
    """

    name: str
    depth: int
    width: int
    rate: float
    seeds: int
    loss: float
    loss_se: float
    accuracy: float
    accuracy_se: float


def classifier(
    name: str, *, depth: int, width: int, seed: int, features: int = 64, classes: int = 10
) -> nn.Sequential:
    """An MLP with ``depth`` hidden layers: first layer normal, the others and the readout by the pair's law.

    Examples
    --------
    >>> from firstlight.experiments.wolinski2025.pairs_training import classifier
    >>> [type(m).__name__ for m in classifier("odd(3)", depth=1, width=8, seed=0)]
    ['Flatten', 'Linear', 'PairActivation', 'Linear']
    """
    net = network(name, width=width, depth=depth)
    pair_module = _activation(name)
    generator = torch.Generator().manual_seed(seed)
    model = mlp(
        features, classes, depth=depth, width=width, activation=pair_module,
        sigma_w=net.sigma_w, sigma_b=net.sigma_b, generator=generator,
    )  # fmt: skip
    linear = [m for m in model if isinstance(m, nn.Linear)]
    for layer in linear[1:]:
        draw(
            layer,
            sigma_w=net.sigma_w,
            sigma_b=net.sigma_b,
            weight_law=net.weight_law,
            generator=generator,
        )
    return model


def _activation(name: str) -> str | nn.Module:
    """The module of a pair, or the name of a plain activation."""
    from firstlight.pairs import weibull

    kind, bracket, theta = name.partition("(")
    return weibull(float(theta.rstrip(")")), kind=kind).activation if bracket else name


def images(
    data: str = "digits", *, directory: str | None = None, count: int | None = None, seed: int = 0
) -> tuple[Dataset, Dataset]:
    """Images to train on and to test, each of squared norm equal to its features, as a Gaussian first layer asks.

    Parameters
    ----------
    data, directory
        An image set; digits have 1400 images to train on and 397 to test.
    count
        Train on so many of them, drawn by the seed; all when absent.

    Examples
    --------
    >>> from firstlight.experiments.wolinski2025.pairs_training import images
    >>> [len(part) for part in images()]
    [1400, 397]
    """
    first, second = splits(data, directory=directory, seed=seed)
    if count is not None and count < len(first):
        first = first.take(count, seed=seed)
    flat = [part.inputs.flatten(1) for part in (first, second)]
    first, second = (
        replace(part, inputs=x * (x.shape[1] ** 0.5 / x.norm(dim=1, keepdim=True)))
        for part, x in zip((first, second), flat, strict=True)
    )
    return first, second


def trained(
    name: str,
    *,
    depth: int,
    width: int,
    rate: float,
    seed: int = 0,
    epochs: int = 3,
    parts: tuple[Dataset, Dataset] | None = None,
) -> Trained:
    """Train one network by SGD on batches of 50 of the digits, or of other ``images``.

    Examples
    --------
    >>> from firstlight.experiments.wolinski2025.pairs_training import trained
    >>> run = trained("odd(3)", depth=2, width=16, rate=0.1, epochs=2)
    >>> run.loss < run.first_loss
    True
    """
    data, test = parts or images()
    features = data.inputs[0].numel()
    model = classifier(name, depth=depth, width=width, seed=seed, features=features)
    run = train(model, data, test, epochs=epochs, learning_rate=rate, batch=50, seed=seed)
    losses = run.column("loss")[1:]
    last = run.history[-1]
    accuracy = 0.1 if run.diverged else last.test_accuracy
    loss = math.nan if run.diverged else last.loss
    return Trained(name, depth, width, rate, seed, epochs, loss, accuracy, losses[0], run.diverged)


def table(
    names: Sequence[str] = NETWORKS,
    *,
    depths: Sequence[int] = (30, 100),
    widths: Sequence[int] = (30, 100),
    rates: Sequence[float] = RATES,
    seeds: int = 3,
    epochs: int = 3,
    parts: tuple[Dataset, Dataset] | None = None,
    on_trial: Callable[[Trial], object] | None = None,
) -> tuple[Trial, ...]:
    """Every network at every size, at the rate of the grid with the lowest mean training loss.

    Parameters
    ----------
    names, depths, widths
        Networks.
    rates, seeds, epochs
        The grid, the seeds 0 … seeds−1 and the epochs, the same for all.
    parts
        As ``images`` makes them; the digits when absent.
    on_trial
        Sees each network as it is finished.
    """
    trials = []
    parts = parts or images()
    for depth in depths:
        for width in widths:
            for name in names:
                runs = [
                    [
                        trained(name, depth=depth, width=width, rate=r, seed=s, epochs=epochs, parts=parts)
                        for s in range(seeds)
                    ]
                    for r in rates
                ]
                trials.append(best(runs))
                if on_trial is not None:
                    on_trial(trials[-1])
    return tuple(trials)


def best(by_rate: Sequence[Sequence[Trained]]) -> Trial:
    """The rate with the lowest mean training loss among those where no seed diverged (else where fewest did).

    Examples
    --------
    >>> from firstlight.experiments.wolinski2025.pairs_training import Trained, best
    >>> runs = [[Trained("tanh", 2, 8, r, s, 1, r + s, 0.5, 2.3, False) for s in range(2)] for r in (0.1, 0.01)]
    >>> best(runs).rate, best(runs).loss, round(best(runs).loss_se, 6)
    (0.01, 0.51, 0.5)
    """

    def mean_loss(runs: Sequence[Trained]) -> tuple[int, float]:
        kept = [run.loss for run in runs if not run.diverged]
        return sum(run.diverged for run in runs), sum(kept) / len(kept) if kept else math.inf

    runs = min(by_rate, key=mean_loss)
    one = runs[0]
    losses = torch.tensor([run.loss for run in runs], dtype=torch.float64)
    accuracies = torch.tensor([run.accuracy for run in runs], dtype=torch.float64)
    root = math.sqrt(len(runs))
    errors = [float(v.std() / root) if len(runs) > 1 else math.nan for v in (losses, accuracies)]
    return Trial(
        one.name, one.depth, one.width, one.rate, len(runs),
        float(losses.mean()), errors[0], float(accuracies.mean()), errors[1],
    )  # fmt: skip
