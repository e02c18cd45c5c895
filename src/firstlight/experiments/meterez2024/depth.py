"""A deep batch-normalised network on a batch: isometry gap and gradients, predicted and measured, and its training."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from firstlight.errors import DomainError, PropagationWarning
from firstlight.files.plain_data import Record
from firstlight.theory.batchnorm import BatchCheck

if TYPE_CHECKING:
    from firstlight.data import Dataset
    from firstlight.training import Epoch, TrainingRun

KINDS = ("orthogonal", "normal")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DeepNetwork:
    """The network that is looked at.

    Attributes
    ----------
    depth, width
        Batch-normalised layers, and units of each.
    activation
        A name.
    gain_exponent
        Gains ℓ^−γ before the activation; by default the smallest γ that bounds the gradient, or 0 where none does.
    centred
        Whether batch norm subtracts the mean.
    seed
        Seed of the weights.
    """

    depth: int = 1000
    width: int = 100
    activation: str = "linear"
    gain_exponent: float | None = None
    centred: bool = True
    seed: int = 0

    @property
    def gamma(self) -> float:
        """The exponent that is used."""
        if self.gain_exponent is not None:
            return float(self.gain_exponent)
        from firstlight.theory.batchnorm import choose_gamma

        try:
            return choose_gamma(self.activation, depth=self.depth).gamma
        except DomainError:  # no exponent bounds this activation: show it as it is
            return 0.0


@dataclass(frozen=True)
class Finding:
    """Prediction and measurement for one kind of weights; gradients are natural logs relative to the last layer."""

    weights: str
    gain_exponent: float
    predicted_slope: float
    predicted_log_growth: float
    slope: float
    slope_se: float
    log_growth: float
    first_gap: float
    last_gap: float
    gaps: tuple[float, ...]
    log_gradients: tuple[float, ...]
    theory: tuple[float, ...]

    @property
    def healthy(self) -> bool:
        """Whether the gradient stays within a factor of ten between the first layer and the last."""
        return math.isfinite(self.log_growth) and abs(self.log_growth) < math.log(10)

    @property
    def word(self) -> str:
        """What the gradient does: the gradient is bounded, explodes, vanishes or is zero."""
        if math.isnan(self.log_growth):  # −∞ at both ends
            return "is zero"
        return "bounded" if self.healthy else "vanishes" if self.log_growth < 0 else "explodes"


@dataclass(frozen=True)
class DepthStudy:
    """What ``study`` found: the checks of the batch, a finding for every kind of weights, and training runs by kind."""

    network: DeepNetwork
    batch: int
    checks: tuple[BatchCheck, ...]
    findings: tuple[Finding, ...]
    runs: dict[str, TrainingRun] = field(default_factory=dict)

    @property
    def healthy(self) -> bool:
        """Whether the gradient is bounded with every kind of weights."""
        return all(finding.healthy for finding in self.findings)

    def to_dict(self) -> Record:
        """Plain data, for JSON."""
        shown = ("depth", "width", "activation", "centred", "seed")
        return {
            "facts": {name: getattr(self.network, name) for name in shown} | {"batch": self.batch},
            "batch": [asdict(check) for check in self.checks],
            "findings": [asdict(f) | {"healthy": f.healthy} for f in self.findings],
            "training": {kind: asdict(run) for kind, run in self.runs.items()},
        }


def study(
    network: DeepNetwork, inputs: Float[Tensor, samples * shape], *, kinds: Sequence[str] = KINDS
) -> DepthStudy:
    """Check a batch, build the network with each kind of weights, and set measurement beside theory.

    Parameters
    ----------
    network
        The network.
    inputs
        The batch.
    kinds
        ``"orthogonal"``, ``"normal"`` (Xavier), or both.

    Raises
    ------
    DomainError
        Another kind, or none.

    References
    ----------
    Meterez et al., "Towards Training Without Depth Limits" (ICLR 2024).

    Examples
    --------
    >>> import torch
    >>> from firstlight.experiments.meterez2024.depth import DeepNetwork, study
    >>> x = torch.randn(33, 32, generator=torch.Generator().manual_seed(0))
    >>> [(f.weights, f.healthy) for f in study(DeepNetwork(depth=300, width=32), x).findings]
    [('orthogonal', True), ('normal', False)]
    """
    from firstlight.theory.batchnorm import check_batch

    kinds = tuple(kinds)
    if not kinds or any(kind not in KINDS for kind in kinds):
        raise DomainError(
            f"while choosing the weights of a batch-normalised network: expected {', '.join(KINDS)} or both, got "
            f"{', '.join(kinds) or 'none'}"
        )
    checks = tuple(
        check_batch(inputs, width=network.width, weights=kind, centred=network.centred)  # type: ignore[arg-type]
        for kind in kinds
    )
    return DepthStudy(network, len(inputs), checks, tuple(_measure(network, inputs, kind) for kind in kinds))


def _measure(network: DeepNetwork, inputs: Tensor, kind: str) -> Finding:
    from torch.nn import functional

    from firstlight.builders import NormOptions, isometric_mlp, log_gradients
    from firstlight.theory.batchnorm import predict_batchnorm

    _log.info("building and measuring %d layers of width %d, %s weights", network.depth, network.width, kind)
    generator, exponent = torch.Generator().manual_seed(network.seed), network.gamma
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PropagationWarning)  # the table says the same with numbers
        model = isometric_mlp(
            inputs[0].numel(), 10, depth=network.depth, width=network.width, activation=network.activation,
            gain_exponent=exponent, weights=kind, norm=NormOptions(centred=network.centred),  # type: ignore[arg-type]
            generator=generator,
        )  # fmt: skip
    labels = torch.randint(0, 10, (len(inputs),), generator=generator)
    found = log_gradients(model, inputs.float(), lambda y: functional.cross_entropy(y, labels), gaps=True)
    inner = found.log_norms[1:-1] if network.depth > 1 else found.log_norms[:1]
    slope, se = found.trend(skip=min(network.depth // 10, 100))
    predicted = predict_batchnorm(
        depth=network.depth, width=network.width, batch=inputs.flatten(1), weights=kind,  # type: ignore[arg-type]
        activation=network.activation, gain_exponent=exponent, centred=network.centred, seed=network.seed,
    )  # fmt: skip
    theory = torch.as_tensor(predicted.profile["log_weight_grad"].copy())
    gaps = tuple(found.gaps.values())
    return Finding(
        kind, exponent, predicted.slope, predicted.log_growth, slope, se,
        float(inner[0] - inner[-1]), gaps[0], gaps[-1], gaps, tuple((inner - inner[-1]).tolist()),
        tuple(theory.tolist()),
    )  # fmt: skip


def train(
    network: DeepNetwork,
    kind: str,
    *,
    images: tuple[Dataset, Dataset],
    epochs: int,
    learning_rate: float | None = None,
    checkpoints: str | None = None,
    on_epoch: Callable[[Epoch], object] | None = None,
) -> TrainingRun:
    """Train the network by SGD on `training.splits` of images, resumable in ``checkpoints``.

    The rate is 0.001 for a linear network and 0.01 for every other one, as the paper's, unless it is given.
    """
    from firstlight.experiments.meterez2024 import training

    rate = learning_rate or (0.001 if network.activation in ("linear", "identity") else 0.01)
    setting = training.Setting(network.activation, kind, network.gamma, rate, network.depth, network.width)
    return training.train_setting(
        setting, *images, epochs=epochs, seed=network.seed, checkpoints=checkpoints, on_epoch=on_epoch
    )
