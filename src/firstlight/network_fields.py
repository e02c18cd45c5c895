"""The fields of a `RandomNetwork`: their types, the checks of single ones, and activations and laws as text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypedDict, runtime_checkable

from firstlight.errors import DomainError

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

    from firstlight.activations import Activation
    from firstlight.profile import Profile
    from firstlight.weights import WeightLaw

Norm = Literal["batch", "batch-uncentred", "layer", "rms"]
Parametrisation = Literal["standard", "ntk"]


class LayerFields(TypedDict, total=False):
    """Fields of a `RandomNetwork` beside its sizes; `RandomNetwork` says what each of them means."""

    activation: str | Activation | Callable[..., Any]
    sigma_w: float
    sigma_b: float
    weight_law: Any
    first_layer: Any
    norm: Norm | None
    skip: float
    branch: float
    dropout: float
    parametrisation: Parametrisation
    kernel_size: int | Sequence[int] | None
    recipe: Any


class NetworkFields(LayerFields, total=False):
    """Every field of a `RandomNetwork`."""

    depth: int
    width: int | Sequence[int]
    in_features: int | None
    blocks: Any


@runtime_checkable
class Described(Protocol):
    """A description that can predict its own profile, such as ``builders.blocks.Chain``."""

    def predict(
        self, *, q0: float = 1.0, c0: float = 0.5, level: str = "mean-field", bits: int | None = None
    ) -> Profile:
        """What theory says."""

    def simulate(self, inputs: Tensor | None = None, *, nets: int = 100, seed: int = 0) -> Profile:
        """What drawn networks do."""


class Chained(Described, Protocol):
    """A chain of blocks, of the class ``builders.blocks.Chain``."""

    @property
    def names(self) -> tuple[str, ...]:
        """What the rows of a profile are called."""

    def layers(self) -> list[Any]:
        """One `RandomNetwork` for each row, where every block is a layer."""

    def build(
        self, in_features: int, *, q0: float = 1.0, generator: Generator | None = None
    ) -> nn.Sequential:
        """The chain as a torch module."""


def fail(what: str, expected: str, got: object, hint: str) -> DomainError:
    """The error of a field outside its domain."""
    said = expected if expected.split()[0] in ("to", "with", "where") else f"to be {expected}"
    return DomainError(f"while describing a RandomNetwork: expected {what} {said}, got {got!r}; {hint}")


def check_counts(name: str, values: Sequence[object]) -> None:
    """Raise a DomainError for sizes that are no integers ≥ 1."""
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise fail(name, "to be an integer ≥ 1", value, "a network needs at least one")


def check_alone(network: Any) -> None:
    """Raise a DomainError for fields of equal layers beside blocks."""
    own = {"depth", "width", "sigma_w", "sigma_b", "first_layer", "in_features", "blocks"}
    for f in fields(network):
        if f.name not in own and getattr(network, f.name) != f.default:
            hint = "say it in a block, such as dense(…) or layer(…)"
            if f.name == "kernel_size":
                hint = (
                    "the rows of a chain are vectors of units with one second moment, and on images each place has its "
                    "own; describe equal layers with kernel_size, or audit the module"
                )
            raise fail(f.name, "to be left out beside blocks", getattr(network, f.name), hint)


def law_as_text(field: str, law: object) -> Any:
    """The text of a law, checked to name one; a law made of functions stays the object it is."""
    if isinstance(law, str):
        from firstlight import weights

        weights.get(law)
        return law
    if isinstance(law, type) and hasattr(law, "sample"):
        raise fail(field, "a name or a law", law, f"make a law of the class: {law.__name__}()")
    if not hasattr(law, "sample"):
        raise fail(field, "a name or a law with a `sample` method", law, "try 'normal'")
    return getattr(law, "spelling", None) or law


def law_as_object(law: Any) -> WeightLaw:
    """The law that a text names, or the law itself."""
    from firstlight import weights

    found: WeightLaw = weights.get(law) if isinstance(law, str) else law
    return found


def check_activation(activation: object, *, pair: bool) -> None:
    """Raise a DomainError for what is no activation; ``pair`` says that the text names a pair."""
    if isinstance(activation, type):
        name = activation.__name__
        raise fail("activation", "a function of one tensor", activation, f"make one of the class: {name}()")
    if not isinstance(activation, str):
        if not callable(activation):
            raise fail("activation", "a name or a callable of one tensor", activation, "try 'tanh'")
        return
    from firstlight import activations

    if activation in activations.gates.GATES:
        hint = f'give the network blocks: RandomNetwork(width=…, blocks="9 * gated({activation!r})")'
        raise fail("activation", "a function of one number", activation, hint)
    if not pair:
        activations.get(activation)


def spelled(field: str, value: object) -> str:
    """The text that names an activation or a law, checked to be enough to make it again."""
    if isinstance(value, str):
        return value
    spelling = getattr(value, "spelling", None)
    if isinstance(spelling, str):
        return spelling
    name = getattr(value, "name", None)
    if field == "activation" and isinstance(name, str):
        from firstlight import activations

        try:
            if activations.get(name) == value:
                return name
        except (DomainError, KeyError, ValueError):
            name = None
    raise fail(field, "something that a name gives back, to write it down", value, "use a registered name")
