"""TrainingPlan: which network, which images, which seeds, by which rules; everything as text and numbers."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from firstlight.doors import checked
from firstlight.errors import DomainError
from firstlight.files.plain_data import Record
from firstlight.pairs import by_name
from firstlight.training.seeds.rules import TrainingRules

# (σ_w, σ_b) of the edge of chaos in the authors' code; a network of another activation has (1, 0)
EDGE_SCALES: dict[str, tuple[float, float]] = {
    "relu": (2.0**0.5, 0.0),
    "tanh": (1.46**0.5, 0.013**0.5),
}


@checked
@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """A network, its images, its seeds and the rules; the same plan gives the same numbers.

    Attributes
    ----------
    model
        ``"mlp"``, or ``"lenet"``: conv 5×5 of 6 channels, φ, max pool 2, conv 5×5 of 16, φ, max pool 2, then
        dense layers of 120, 84 and the classes; images are padded to 32×32 with their black.
    depth, width
        Hidden layers of the MLP and their units.
    activation
        φ by name; ``"weibull-odd(10)"`` for that of a pair.
    weights, first_layer
        Law of the weights by name, ``"weibull(10)"`` for that of a pair, and law of the first layer. The readout
        has the law of the inner layers.
    recipe
        A start by name, ``"he"`` or ``"orthogonal"``, that ``recipes.get`` reads, in place of laws and scales.
    sigma_w, sigma_b
        Scales; None for the edge of chaos of tanh and ReLU, and for (1, 0) else.
    data
        ``"mnist"``, ``"fashion-mnist"``, ``"cifar10"`` or ``"digits"``, standardised per channel.
    fraction
        Share of the training and of the validation images that is used, drawn by the seed.
    seeds
        One network for each. A seed fixes the split, the weights and the order of the samples.
    epochs
        At most so many. A run may be resumed with more.
    rules
        The protocol.
    native
        Whether the activation of a pair is the kernel compiled for this machine, four to ten times faster.

    Raises
    ------
    DomainError
        A field outside its domain.

    Examples
    --------
    >>> from firstlight.training import TrainingPlan
    >>> TrainingPlan.of_pair("weibull:10:odd", depth=30, data="cifar10", seeds=(0, 1)).weights
    'weibull(10)'
    """

    model: Literal["mlp", "lenet"] = "mlp"
    depth: int = 3
    width: int = 100
    activation: str = "tanh"
    weights: str = "normal"
    first_layer: str = "normal"
    recipe: str | None = None
    sigma_w: float | None = None
    sigma_b: float | None = None
    data: str = "mnist"
    fraction: float = 1.0
    seeds: tuple[int, ...] = (0,)
    epochs: int = 1000
    rules: TrainingRules = field(default_factory=TrainingRules)
    native: bool = False

    def __post_init__(self) -> None:
        scales = EDGE_SCALES.get(self.activation, (1.0, 0.0))
        for name, scale in zip(("sigma_w", "sigma_b"), scales, strict=True):
            value = scale if getattr(self, name) is None else getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise DomainError(_refused(name, "a finite number of at least 0", value))
            object.__setattr__(self, name, float(value))
        for name in ("depth", "width", "epochs"):
            if getattr(self, name) < 1:
                raise DomainError(_refused(name, "at least 1", getattr(self, name)))
        if not 0 < self.fraction <= 1:
            raise DomainError(_refused("fraction", "above 0 and at most 1", self.fraction))
        if self.recipe is not None and (self.weights, self.first_layer) != ("normal", "normal"):
            raise DomainError(_refused("recipe", "alone, without laws of weights", self.recipe))
        seeds = tuple(self.seeds)
        if not seeds or len(set(seeds)) < len(seeds) or any(not 0 <= seed < 2**31 for seed in seeds):
            raise DomainError(_refused("seeds", "different whole numbers of at least 0", seeds))
        object.__setattr__(self, "seeds", seeds)

    @classmethod
    def of_pair(cls, pair: str, **fields: Any) -> TrainingPlan:
        """The plan of a pair's network: ``"weibull:10:odd"``, or a name that ``pairs.by_name`` reads.

        Raises
        ------
        DomainError
            No such pair, or a pair whose law has no spelling.
        """
        name = pair
        if pair.startswith("weibull:"):
            theta, _, kind = pair.removeprefix("weibull:").partition(":")
            name = f"weibull-{kind or 'odd'}({theta})"
        law = by_name(name).weights.spelling
        if law is None:
            raise DomainError(_refused("pair", "a pair whose weights have a spelling", pair))
        return cls(activation=name, weights=law, **fields)

    @property
    def label(self) -> str:
        """The plan in a few words.

        Examples
        --------
        >>> from firstlight.training import TrainingPlan
        >>> TrainingPlan(depth=30, activation="relu").label
        'mlp 30×100 relu on mnist'
        """
        size = f" {self.depth}×{self.width}" if self.model == "mlp" else ""
        return f"{self.model}{size} {self.activation} on {self.data}"

    def to_dict(self) -> Record:
        """Plain data, for JSON; ``TrainingPlan.from_dict`` reads it back."""
        return asdict(self) | {"seeds": list(self.seeds)}

    @classmethod
    def from_dict(cls, data: Record) -> TrainingPlan:
        """The plan that ``to_dict`` wrote down."""
        rules = TrainingRules(**data["rules"])
        return cls(**{**data, "rules": rules, "seeds": tuple(data["seeds"])})


def _refused(name: str, expected: str, got: object) -> str:
    return f"while planning a training: expected {name} to be {expected}, got {got}; change it"
