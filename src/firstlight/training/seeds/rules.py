"""The rules of a protocol: optimiser, plateau schedule on the training loss, early stop on the validation loss."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace

from firstlight.doors import checked
from firstlight.errors import DomainError
from firstlight.files.plain_data import Record


@checked
@dataclass(frozen=True, kw_only=True)
class TrainingRules:
    """How networks are trained: Adam, a rate that falls on plateaus of the training loss, and an early stop.

    Attributes
    ----------
    batch
        Samples of a step; the last batch of an epoch holds what is left.
    learning_rate, beta1, beta2
        Of Adam, with ε = 1e-8 and no weight decay.
    rate_factor, plateau_epochs, plateau_gain
        The rate is multiplied by ``rate_factor`` after ``plateau_epochs`` epochs whose mean training loss was not below
        (1 − ``plateau_gain``) × the best mean so far. The count then begins again.
    stop_epochs, stop_gain
        A seed stops when its validation loss was not below (1 − ``stop_gain``) × the best one for ``stop_epochs``
        epochs.

    Raises
    ------
    DomainError
        A number outside its domain.

    References
    ----------
    Wolinski & Arbel, TMLR 2025, training experiments: the defaults. PyTorch's ``ReduceLROnPlateau`` with
    ``patience=p`` acts at epoch p + 1 without gain; here the number is that of the epochs without gain.

    Examples
    --------
    >>> from firstlight.training import TrainingRules
    >>> TrainingRules().batch, round(TrainingRules().rate_factor, 4)
    (200, 0.4642)
    """

    batch: int = 200
    learning_rate: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    rate_factor: float = 10 ** (-1 / 3)
    plateau_epochs: int = 10
    plateau_gain: float = 0.01
    stop_epochs: int = 30
    stop_gain: float = 0.001

    def __post_init__(self) -> None:
        for name in ("batch", "plateau_epochs", "stop_epochs"):
            if getattr(self, name) < 1:
                raise _outside(name, "at least 1", getattr(self, name))
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise _outside("learning_rate", "a finite number above 0", self.learning_rate)
        for name in ("beta1", "beta2", "plateau_gain", "stop_gain"):
            if not 0 <= getattr(self, name) < 1:
                raise _outside(name, "in [0, 1)", getattr(self, name))
        if not 0 < self.rate_factor < 1:
            raise _outside("rate_factor", "between 0 and 1", self.rate_factor)


def _outside(name: str, expected: str, got: object) -> DomainError:
    return DomainError(
        f"while making training rules: expected {name} to be {expected}, got {got}; change the rule"
    )


PROTOCOLS: dict[str, TrainingRules] = {"wolinski2025": TrainingRules()}


@dataclass(frozen=True)
class Watch:
    """Counts epochs without gain of a loss.

    Attributes
    ----------
    gain
        Share by which a loss must fall below the best one to be a gain.
    best, waited
        The best loss so far, and the epochs since that one.

    Examples
    --------
    >>> from firstlight.training.seeds.rules import Watch
    >>> watch = Watch(0.01).after(1.0).after(0.995)
    >>> watch.best, watch.waited
    (1.0, 1)
    """

    gain: float
    best: float = math.inf
    waited: int = 0

    def after(self, loss: float) -> Watch:
        """The watch after one more epoch."""
        if loss < self.best * (1 - self.gain):
            return replace(self, best=loss, waited=0)
        return replace(self, waited=self.waited + 1)

    def rested(self) -> Watch:
        """The watch with its count begun again."""
        return replace(self, waited=0)

    def to_dict(self) -> Record:
        """Plain data."""
        return asdict(self)
