"""Figures 1–6 of Meterez et al., "Towards Training Without Depth Limits" (ICLR 2024): data, and how to draw it.

Each ``figure_k`` returns a `Figure` whose rows are tidy (one observation each) and whose ``draw`` makes it with
matplotlib. Defaults are small enough for a minute or so; the paper's own sizes are in the docstrings.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from firstlight.builders import LogGradients, NormOptions, isometric_mlp, log_gradients
from firstlight.data import Dataset, load
from firstlight.errors import PropagationWarning
from firstlight.files import named_inside, own_folder
from firstlight.theory import batchnorm
from firstlight.training import TrainingRun, train

CITATION = (
    "Meterez, Joudaki, Orabona, Immer, Rätsch, Daneshmand: Towards Training Without Depth Limits: Batch "
    "Normalization Without Gradient Explosion. ICLR 2024, arXiv 2310.02012."
)
_UNCENTRED = NormOptions(centred=False, eps=0.0)
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Figure:
    """The data of a figure and how to read it.

    Attributes
    ----------
    name, caption
        Which figure, and what it shows.
    rows
        One mapping per observation.
    x, y, hue
        Which columns are drawn: across, up, and one line for each value of ``hue``.
    scales
        Scale of the two axes, ``"linear"`` or ``"log"``.
    facts
        Sizes it was made with.
    """

    name: str
    caption: str
    rows: tuple[Row, ...]
    x: str
    y: str
    hue: str
    scales: tuple[str, str] = ("linear", "linear")
    facts: Mapping[str, Any] = field(default_factory=dict)

    def lines(self) -> dict[str, tuple[list[float], list[float]]]:
        """Mean of y at every x, one line for each value of ``hue``."""
        grouped: dict[str, dict[float, list[float]]] = {}
        for row in self.rows:
            grouped.setdefault(str(row[self.hue]), {}).setdefault(float(row[self.x]), []).append(row[self.y])
        return {
            label: (sorted(at), [sum(at[x]) / len(at[x]) for x in sorted(at)])
            for label, at in grouped.items()
        }

    def draw(self, axes: Any = None) -> Any:
        """Draw with matplotlib, on these axes or new ones; returns the axes."""
        from matplotlib import pyplot

        if axes is None:
            _, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
        styles = ("-", "--", ":", "-.")
        for index, (label, (x, y)) in enumerate(self.lines().items()):
            axes.plot(x, y, styles[index % 4], label=label)
        axes.set(xlabel=self.x, ylabel=self.y, xscale=self.scales[0], yscale=self.scales[1], title=self.name)
        axes.legend(title=self.hue)
        return axes


def gaussian_batch(samples: int, width: int, *, seed: int = 0, duplicates: int = 0) -> Tensor:
    """Independent N(0, 1) samples, the last few of them copies of the first few."""
    x = torch.randn(samples, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    if duplicates:
        x[samples - duplicates :] = x[:duplicates].clone()
    return x


def gradients_at_start(
    x: Tensor, *, depth: int, width: int, seed: int = 0, norm: NormOptions = _UNCENTRED, **options: Any
) -> LogGradients:
    """Log gradient norms of a fresh network on a batch, cross-entropy with ten random labels, in float64."""
    generator = torch.Generator().manual_seed(seed)
    with warnings.catch_warnings():
        # that some of these explode is what the figures are about
        warnings.simplefilter("ignore", PropagationWarning)
        model = isometric_mlp(
            x[0].numel(), 10, depth=depth, width=width, norm=norm, generator=generator, **options
        ).double()
    labels = torch.randint(0, 10, (len(x),), generator=generator)
    return log_gradients(model, x.double(), lambda y: functional.cross_entropy(y, labels))


def figure_1(*, width: int = 32, depth: int = 300, draws: int = 2) -> tuple[Figure, Figure]:
    """Isometry gap against depth, and gradient of the first layer against depth: orthogonal and Gaussian weights.

    The paper: width = batch = 100, depth 1000.

    Examples
    --------
    >>> from firstlight.experiments import meterez2024
    >>> gap, gradient = meterez2024.figure_1(width=8, depth=20, draws=1)
    >>> sorted(gap.lines()), len(gradient.rows)
    (['normal', 'orthogonal'], 6)
    """
    gaps: list[Row] = []
    grads: list[Row] = []
    for weights in ("orthogonal", "normal"):
        for draw in range(draws):
            x = gaussian_batch(width, width, seed=draw)
            generator = torch.Generator().manual_seed(draw)
            chain = batchnorm.gap_chain(x.T, depth, weights=weights, draws=1, generator=generator)[0]
            gaps += [
                {"weights": weights, "draw": draw, "layer": layer, "isometry gap": float(gap)}
                for layer, gap in enumerate(chain.tolist())
            ]
            for deep in _depths(depth):
                found = gradients_at_start(x, depth=deep, width=width, seed=draw, weights=weights)
                value = float(found.log_norms[0])
                grads.append({"weights": weights, "draw": draw, "depth": deep, "log ‖∇W₁‖": value})
    facts = {"width": width, "batch": width, "draws": draws}
    return (
        Figure("Figure 1a", "The gap decays with orthogonal weights and diverges with Gaussian ones.",
               tuple(gaps), "layer", "isometry gap", "weights", ("linear", "log"), facts),
        Figure("Figure 1b", "The gradient of the first layer is bounded with orthogonal weights only.",
               tuple(grads), "depth", "log ‖∇W₁‖", "weights", facts=facts),
    )  # fmt: skip


def figure_2(*, width: int = 32, depth: int = 300, duplicates: Sequence[int] = (0, 4, 8, 16)) -> Figure:
    """Gradient of the first layer against depth for batches with repeated samples: they explode.

    Examples
    --------
    >>> from firstlight.experiments import meterez2024
    >>> len(meterez2024.figure_2(width=8, depth=20, duplicates=(0, 4)).lines())
    2
    """
    rows = []
    for count in duplicates:
        x = gaussian_batch(width, width, duplicates=count)
        for deep in _depths(depth):
            found = gradients_at_start(x, depth=deep, width=width)
            rows.append({"repeated": count, "depth": deep, "log ‖∇W₁‖": float(found.log_norms[0])})
    return Figure(
        "Figure 2", "Repeated samples make the batch degenerate, and the gradient explodes with depth.",
        tuple(rows), "depth", "log ‖∇W₁‖", "repeated", facts={"width": width, "batch": width},
    )  # fmt: skip


def figure_3(
    *, width: int = 64, depth: int = 100, gains: Sequence[float] = (0.2, 0.4, 0.6, 0.8, 1.0)
) -> Figure:
    """Explosion rate per layer against a constant gain, above the identity: measured, and by theory (α⁴).

    Examples
    --------
    >>> from firstlight.experiments import meterez2024
    >>> figure = meterez2024.figure_3(width=16, depth=20, gains=(0.5, 1.0))
    >>> sorted(figure.lines())
    ['sin', 'sin (theory)', 'tanh', 'tanh (theory)']
    """
    x = gaussian_batch(width + 16, width)
    centred = NormOptions(eps=0.0)
    floor = gradients_at_start(x, depth=depth, width=width, norm=centred).trend(skip=depth // 5)[0]
    rows: list[Row] = []
    for activation in ("sin", "tanh"):
        theory = batchnorm.shaped_rates(activation, list(gains)).tolist()
        for gain, predicted in zip(gains, theory, strict=True):
            found = gradients_at_start(
                x, depth=depth, width=width, norm=centred, activation=activation, gain_exponent=[gain] * depth
            ).trend(skip=depth // 5)[0]
            rows.append({"activation": activation, "gain": gain, "rate": found - floor})
            rows.append({"activation": f"{activation} (theory)", "gain": gain, "rate": predicted})
    return Figure(
        "Figure 3", "Growth of log ‖∇W‖ per layer beyond the identity, against the gain.",
        tuple(rows), "gain", "rate", "activation", facts={"width": width, "depth": depth},
    )  # fmt: skip


def figure_4(
    *,
    width: int = 64,
    depth: int = 300,
    activation: str = "tanh",
    exponents: Sequence[float] = (0.0, 0.25, 0.4),
) -> Figure:
    """Gradient of the first layer against depth for gains ℓ^{−γ}: bounded above the critical exponent 1/4.

    Examples
    --------
    >>> from firstlight.experiments import meterez2024
    >>> len(meterez2024.figure_4(width=16, depth=20, exponents=(0.0, 0.4)).rows)
    6
    """
    x = gaussian_batch(width + 16, width)
    rows = []
    for exponent in exponents:
        for deep in _depths(depth):
            found = gradients_at_start(
                x, depth=deep, width=width, norm=NormOptions(eps=0.0), activation=activation,
                gain_exponent=exponent,
            )  # fmt: skip
            # the output factor α_L scales every gradient alike and is no growth
            value = float(found.log_norms[0]) + exponent * float(torch.log(torch.tensor(float(deep))))
            rows.append({"γ": exponent, "depth": deep, "log ‖∇W₁‖ − log α_L": value})
    critical = batchnorm.choose_gamma(activation).critical
    return Figure(
        "Figure 4", f"{activation} with gains ℓ^(−γ); the critical exponent is {critical:.3g}.",
        tuple(rows), "depth", "log ‖∇W₁‖ − log α_L", "γ", facts={"width": width},
    )  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """One network of figures 5 and 6."""

    activation: str = "linear"
    weights: str = "orthogonal"
    gain_exponent: float = 0.0
    learning_rate: float = 0.001
    depth: int = 100
    width: int = 100

    @property
    def label(self) -> str:
        """How it is called in a legend."""
        return f"{self.activation}, {self.weights}, depth {self.depth}"


SETTINGS: tuple[Setting, ...] = (
    Setting("linear"),
    Setting("sin", gain_exponent=0.4, learning_rate=0.01),
    Setting("tanh", gain_exponent=0.4, learning_rate=0.01),
    Setting("sin", "normal", gain_exponent=0.4, learning_rate=0.01),
)


def splits(data: str = "digits", *, directory: str | None = None, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Training and test samples: the official parts; for digits, which have none, 1400 and 397 at random."""
    parts = [load(data, directory=directory, train=part, normalise="unit") for part in (True, False)]
    if data != "digits":
        mean, std = parts[0].inputs.mean(), parts[0].inputs.std()
        first, second = (replace(part, inputs=(part.inputs - mean) / std) for part in parts)
        return first, second
    inputs = torch.cat([part.inputs for part in parts])
    labels = torch.cat([part.targets for part in parts if part.targets is not None])
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(seed))
    scaled = (inputs - inputs.mean()) / inputs.std()
    train_rows, test_rows = order[:1400], order[1400:]
    return (
        replace(parts[0], inputs=scaled[train_rows], targets=labels[train_rows]),
        replace(parts[0], inputs=scaled[test_rows], targets=labels[test_rows]),
    )


def train_setting(
    setting: Setting,
    data: Dataset,
    test: Dataset,
    *,
    epochs: int,
    seed: int = 0,
    checkpoints: str | Path | None = None,
    on_epoch: Callable[[Any], Any] | None = None,
) -> TrainingRun:
    """Train one network by the paper's protocol; with a folder for checkpoints it resumes where it stopped."""
    model = isometric_mlp(
        data.inputs[0].numel(), data.classes or 10, depth=setting.depth, width=setting.width,
        activation=setting.activation, gain_exponent=setting.gain_exponent,
        weights=setting.weights,  # type: ignore[arg-type]
        norm=NormOptions(track_running_stats=True), generator=torch.Generator().manual_seed(seed),
    )  # fmt: skip
    name = f"{data.name}-{setting.label}-{seed}"
    return train(
        model, data, test, epochs=epochs, learning_rate=setting.learning_rate, seed=seed, on_epoch=on_epoch,
        checkpoint=None if checkpoints is None else named_inside(own_folder(checkpoints), name, ".pt"),
    )  # fmt: skip


def figures_5_and_6(
    settings: Sequence[Setting] = SETTINGS,
    *,
    data: str = "digits",
    directory: str | None = None,
    epochs: int = 5,
    seed: int = 0,
    checkpoints: str | Path | None = None,
) -> tuple[Figure, Figure]:
    """Training accuracy by epoch (5), and isometry gap of the weights of the middle layers by epoch (6).

    The paper trains depths 100, 500 and 1000 for about 1000 epochs on CIFAR-10 and MNIST: pass ``data`` and a
    folder for ``checkpoints``, and call again to continue.

    Examples
    --------
    >>> from firstlight.experiments import meterez2024
    >>> setting = meterez2024.Setting(depth=5, width=20, learning_rate=0.05)
    >>> accuracy, gap = meterez2024.figures_5_and_6([setting], epochs=1)
    >>> len(accuracy.rows), len(gap.rows)
    (4, 2)
    """
    first, second = splits(data, directory=directory, seed=seed)
    accuracy: list[Row] = []
    gaps: list[Row] = []
    for setting in settings:
        run = train_setting(setting, first, second, epochs=epochs, seed=seed, checkpoints=checkpoints)
        for epoch in run.history:
            for part in ("train", "test"):
                value = getattr(epoch, f"{part}_accuracy")
                accuracy.append(
                    {"network": f"{setting.label}, {part}", "epoch": epoch.epoch, "accuracy": value}
                )
            gaps.append(
                {"network": setting.label, "epoch": epoch.epoch, "weight gap": epoch.weight_gap_middle}
            )
    facts = {"data": data, "epochs": epochs, "seed": seed}
    return (
        Figure("Figure 5", "Accuracy on recalibrated statistics.", tuple(accuracy), "epoch", "accuracy", "network",
               facts=facts),
        Figure("Figure 6", "Isometry gap of the weights of the middle layers: they stay near orthogonal.",
               tuple(gaps), "epoch", "weight gap", "network", facts=facts),
    )  # fmt: skip


def figure_5(settings: Sequence[Setting] = SETTINGS, **options: Any) -> Figure:
    """Accuracy by epoch; see `figures_5_and_6`."""
    return figures_5_and_6(settings, **options)[0]


def figure_6(settings: Sequence[Setting] = SETTINGS, **options: Any) -> Figure:
    """Isometry gap of the middle weights by epoch; see `figures_5_and_6`."""
    return figures_5_and_6(settings, **options)[1]


def _depths(depth: int) -> list[int]:
    """A few depths up to the largest."""
    return sorted({max(depth // 4, 1), max(depth // 2, 1), depth})
