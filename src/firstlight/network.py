"""RandomNetwork: the one description of a random network that theory, ensembles and builders share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, Unpack, get_args, runtime_checkable

from firstlight.clean_room import clean
from firstlight.errors import DomainError
from firstlight.network_fields import LayerFields, NetworkFields, Norm, Parametrisation

if TYPE_CHECKING:
    from torch import Tensor

    from firstlight.activations import Activation
    from firstlight.profile import Profile
    from firstlight.weights import WeightLaw

NORMS: tuple[str, ...] = get_args(Norm)


@runtime_checkable
class Described(Protocol):
    """A description that speaks for itself, as ``builders.blocks.Chain`` does."""

    def predict(self, *, q0: float = 1.0, c0: float = 0.5) -> Profile:
        """What theory says."""

    def simulate(self, inputs: Tensor | None = None, *, nets: int = 100, seed: int = 0) -> Profile:
        """What drawn networks do."""


def _fail(what: str, expected: str, got: object, hint: str) -> DomainError:
    return DomainError(f"while describing a RandomNetwork: expected {what} {expected}, got {got!r}; {hint}")


# the square of a scale, and the product of two squares, are still numbers
_LARGEST = 1e75


@dataclass(frozen=True, kw_only=True)
class RandomNetwork:
    r"""A perceptron or a convolutional network with random weights, described by its layers' laws and scales.

    .. math::
        Z^1 = \tfrac{\sigma_w}{\sqrt{n_0}} W^1 x + \sigma_b B^1, \qquad
        Z^{l+1} = s\,Z^l + a\Big(\tfrac{\sigma_w}{\sqrt{n_l}} W^{l+1} D\,φ(N(Z^l)) + \sigma_b B^{l+1}\Big)

    The first layer acts on the raw inputs. ``N`` is ``norm`` (identity if None) and acts on pre-activations;
    ``D`` is inverted dropout; ``s`` is ``skip`` and ``a`` is ``branch``; B has independent N(0,1) entries.
    Entries of W follow ``weight_law`` as it is, not normalised: a law whose E W² is not 1 multiplies σ_w².

    Parameters
    ----------
    depth
        Number of weight layers, at least 1; the profile has one row for each.
    width
        Units per layer: one number, or one for each of the ``depth`` layers.
    activation
        φ: a name, a ``firstlight.activations.Activation``, an ``nn.Module`` or any callable of one tensor;
        ``"weibull-odd(3)"`` (or positive, critical) names the activation of the Weibull pair with θ = 3,
        ``"partner(uniform)"`` that of the partner of a weight law.
    sigma_w, sigma_b
        Weight and bias scales, ≥ 0.
    in_features
        Number n₀ of inputs, or None to take it from the inputs.
    weight_law, first_layer
        Law of the weights of layers 2, 3, … and of layer 1, as ``firstlight.weights.get`` reads them: ``"normal"``,
        ``"orthogonal"``, ``"weibull(3)"``, ``"2.5 * uniform"``, or a law object. The field keeps the text; an object
        with a spelling is kept as that text, and ``law`` and ``first_law`` are the objects.
    norm
        ``"batch"`` (centred), ``"batch-uncentred"``, ``"layer"``, ``"rms"`` or None.
    skip, branch
        Scales of the identity path and of the weight path; ``skip=0`` is a plain network.
    dropout
        Probability of dropping a unit of φ's output, in [0, 1).
    parametrisation
        ``"standard"`` puts 1/√n into the weight, ``"ntk"`` keeps it outside: the same law of Z, but the
        gradients by weights differ.
    kernel_size
        None for dense layers. Else every layer is a convolution with circular padding and stride 1 of ``width``
        channels, with kernels of this size: one number for all dimensions of the images, or one for each. The
        fan-in is then channels × entries of the kernel, and ``in_features`` counts the channels of the images.
    recipe
        The name of a start, or a ``firstlight.recipes.Recipe``, that gives ``sigma_w``, ``sigma_b``, ``weight_law`` and
        ``first_layer`` for this activation and depth; None where these fields speak for themselves.

    Raises
    ------
    DomainError
        A field outside its domain; the message names it.

    Examples
    --------
    >>> from firstlight.network import RandomNetwork
    >>> net = RandomNetwork(depth=3, width=100, activation="relu", sigma_w=2**0.5)
    >>> net.widths, net.with_(depth=2).widths
    ((100, 100, 100), (100, 100))
    >>> RandomNetwork.from_dict(net.to_dict()) == net
    True
    """

    depth: int
    width: int | Sequence[int]
    activation: str | Activation | Callable[..., Any] = "tanh"
    sigma_w: float = 1.0
    sigma_b: float = 0.0
    in_features: int | None = None
    weight_law: Any = "normal"
    first_layer: Any = "normal"
    norm: Norm | None = None
    skip: float = 0.0
    branch: float = 1.0
    dropout: float = 0.0
    parametrisation: Parametrisation = "standard"
    kernel_size: int | Sequence[int] | None = None
    recipe: Any = None

    def __post_init__(self) -> None:
        self._check_shape()
        if self.recipe is not None:
            self._read_recipe()
        for name in ("sigma_w", "sigma_b", "skip", "branch", "dropout"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise _fail(name, "to be a finite number", value, "give a float")
            if abs(value) > _LARGEST:
                raise _fail(name, f"at most {_LARGEST:g}", value, "its square must be a number too")
            if value < 0 and name.startswith("sigma"):
                raise _fail(name, "≥ 0", value, "it is a standard deviation")
            object.__setattr__(self, name, float(value))
        if not 0 <= self.dropout < 1:
            raise _fail("dropout", "in [0, 1)", self.dropout, "it is the probability of dropping a unit")
        if self.norm is not None and self.norm not in NORMS:
            raise _fail("norm", f"None or one of {', '.join(NORMS)}", self.norm, "choose one of these")
        if self.kernel_size is not None and self.norm in ("layer", "rms"):
            raise _fail(
                "norm", "None or over the batch in a convolutional network", self.norm, "leave it out"
            )
        if self.parametrisation not in get_args(Parametrisation):
            raise _fail("parametrisation", "'standard' or 'ntk'", self.parametrisation, "choose one of these")
        _check_activation(self.activation)
        for name in ("weight_law", "first_layer"):
            object.__setattr__(self, name, _law_as_text(name, getattr(self, name)))

    def _read_recipe(self) -> None:
        """Let the recipe set the scales and laws. The room of recipes stands above; the front door knows the way."""
        import firstlight

        _check_activation(self.activation)
        taps = self.kernel_size or 1
        fields_ = firstlight.recipes.described(
            self.recipe,
            self.phi,
            self.widths,
            in_features=self.in_features,
            taps=taps if isinstance(taps, int) else math.prod(taps),
            residual=self.skip != 0,
        )
        for name, value in fields_.items():
            object.__setattr__(self, name, value)
        if not isinstance(self.recipe, str):
            object.__setattr__(self, "recipe", self.recipe.spelling)

    def _check_shape(self) -> None:
        counts: list[tuple[str, Any]] = [("depth", self.depth)]
        if isinstance(self.width, list | tuple):
            object.__setattr__(self, "width", tuple(self.width))
            counts += [("width", n) for n in self.width]
        else:
            counts += [("width", self.width)]
        if self.in_features is not None:
            counts += [("in_features", self.in_features)]
        if isinstance(self.kernel_size, list | tuple):
            object.__setattr__(self, "kernel_size", tuple(self.kernel_size))
            counts += [("kernel_size", n) for n in self.kernel_size or (0,)]
        elif self.kernel_size is not None:
            counts += [("kernel_size", self.kernel_size)]
        for name, value in counts:
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise _fail(name, "to be an integer ≥ 1", value, "a network needs at least one")
        if isinstance(self.width, tuple) and len(self.width) != self.depth:
            hint = "give one width per layer or one number"
            raise _fail("width", f"to have {self.depth} entries for depth {self.depth}", self.width, hint)
        if self.skip != 0 and len(set(self.widths)) > 1:
            raise _fail("width", "to be the same in every layer when skip ≠ 0", self.width, "set skip=0")

    @classmethod
    def siren(
        cls,
        *,
        depth: int,
        width: int | Sequence[int],
        in_features: int,
        frequency: float = 30.0,
        **others: Unpack[LayerFields],
    ) -> RandomNetwork:
        r"""A sinusoidal network with the weight laws of its authors, in which the first layer has its own.

        .. math:: φ(z) = \sin(ω z), \qquad W^1 \sim U(\pm 1/n_0), \qquad
            W^l \sim U\big(\pm \sqrt{6/n}\,/ω\big) \text{ for } l > 1

        The arguments of the first sines then have standard deviation ω/√(3n₀) for inputs of unit mean square, and
        those of the next tend to the variance .7968 at which q = 1 − e^{−2q}.

        Parameters
        ----------
        depth, width, in_features
            As of the network; the first law needs n₀.
        frequency
            ω, 30 in the paper.
        others
            Further fields, such as ``sigma_b``.

        Raises
        ------
        DomainError
            A frequency that is not positive, or fields outside their domains.

        Notes
        -----
        Sitzmann et al. (2020), *Implicit neural representations with periodic activation functions*, section 3.2.

        Examples
        --------
        >>> from firstlight.network import RandomNetwork
        >>> net = RandomNetwork.siren(depth=4, width=256, in_features=2)
        >>> round(net.sigma_w * 30, 6), net.to_dict()["first_layer"].split(" * ")[1]
        (2.44949, 'uniform')
        """  # noqa: DOC501
        if not (math.isfinite(frequency) and frequency > 0):
            raise _fail("frequency", "> 0", frequency, "the paper takes 30")
        if isinstance(in_features, bool) or not isinstance(in_features, int) or in_features < 1:
            raise _fail("in_features", "to be an integer ≥ 1", in_features, "the first layer's law needs it")
        fields_: LayerFields = {
            "activation": f"sin({float(frequency)!r})",
            "sigma_w": math.sqrt(6) / frequency,
            "weight_law": "uniform",
            "first_layer": f"{frequency / math.sqrt(6 * in_features)!r} * uniform",
        }
        return cls(depth=depth, width=width, in_features=in_features, **(fields_ | others))

    @property
    def widths(self) -> tuple[int, ...]:
        """The widths n₁ … n_L, one per layer."""
        return (self.width,) * self.depth if isinstance(self.width, int) else tuple(self.width)

    def kernel(self, dimensions: int) -> tuple[int, ...]:
        """The kernel's size in each of the images' dimensions; () of a dense network.

        Raises
        ------
        DomainError
            Images of another number of dimensions than the kernel, or without any.
        """  # noqa: DOC501
        size = self.kernel_size
        if size is None:
            return ()
        sizes = (size,) * dimensions if isinstance(size, int) else tuple(size)
        if len(sizes) != dimensions or not sizes:
            raise _fail(
                "images", f"with dimensions for kernel_size={size}", dimensions, "shape (inputs, channels, …)"
            )
        return sizes

    @property
    def law(self) -> WeightLaw:
        """The law of the weights of layers 2, 3, … as an object."""
        return _law_as_object(self.weight_law)

    @property
    def first_law(self) -> WeightLaw:
        """The law of the weights of layer 1 as an object."""
        return _law_as_object(self.first_layer)

    @cached_property
    @clean
    def phi(self) -> Activation:
        """The activation as an object, made once."""
        from firstlight import activations, pairs

        if isinstance(self.activation, str) and pairs.is_pair_name(self.activation):
            return activations.get(pairs.by_name(self.activation).activation)
        return activations.get(self.activation)

    def with_(self, **changes: Unpack[NetworkFields]) -> RandomNetwork:
        """The same network with some fields changed; a scale or a law that is changed takes the recipe away."""
        known = [f.name for f in fields(self)]
        unknown = sorted(set(changes) - set(known))
        if unknown:
            raise _fail("field names", f"among {', '.join(known)}", unknown, "check the spelling")
        if self.recipe is not None and {"sigma_w", "sigma_b", "weight_law", "first_layer"} & set(changes):
            changes = {"recipe": None, **changes}  # the scales are no longer the recipe's
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values that JSON and TOML can hold; fields that are None are left out.

        Raises
        ------
        DomainError
            A callable activation or a law object without a name that gives it back.
        """
        result: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if value is None:
                continue
            if f.name in ("activation", "weight_law", "first_layer"):
                value = _spelled(f.name, value)
            result[f.name] = list(value) if isinstance(value, tuple) else value
        return result

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RandomNetwork:
        """The inverse of ``to_dict``; a missing field takes its default."""
        known = [f.name for f in fields(cls)]
        unknown = sorted(set(data) - set(known))
        if unknown:
            raise _fail("field names", f"among {', '.join(known)}", unknown, "check the spelling")
        missing = sorted({"depth", "width"} - set(data))
        if missing:
            raise _fail(
                "the fields depth and width", "to be given", f"no {' and no '.join(missing)}", "add them"
            )
        return cls(**data)


def _law_as_text(field: str, law: object) -> Any:
    """The text of a law, checked to name one; a law made of functions stays the object it is."""
    if isinstance(law, str):
        from firstlight import weights

        weights.get(law)
        return law
    if not hasattr(law, "sample"):
        raise _fail(field, "a name or a law with a `sample` method", law, "try 'normal'")
    return getattr(law, "spelling", None) or law


def expected_network(value: object, doing: str) -> RandomNetwork:
    """The value, if it is a description of a network.

    Raises
    ------
    DomainError
        Anything else; the message says what to do with a torch module.
    """
    if isinstance(value, RandomNetwork):
        return value
    hint = "describe the network, as in RandomNetwork(depth=10, width=100, activation='tanh')"
    if callable(getattr(value, "state_dict", None)):
        hint = "this verb draws networks from a description; firstlight.audit(model, batch) measures a module"
    raise DomainError(f"while {doing}: expected a RandomNetwork, got {type(value).__name__}; {hint}")


def _law_as_object(law: Any) -> WeightLaw:
    from firstlight import weights

    found: WeightLaw = weights.get(law) if isinstance(law, str) else law
    return found


def _check_activation(activation: object) -> None:
    if isinstance(activation, type):
        name = activation.__name__
        raise _fail("activation", "a function of one tensor", activation, f"make one of the class: {name}()")
    if not isinstance(activation, str):
        if not callable(activation):
            raise _fail("activation", "a name or a callable of one tensor", activation, "try 'tanh'")
        return
    from firstlight import activations, pairs

    if activation in activations.gates.GATES:
        hint = f"describe it as a chain: builders.blocks.Chain([Gated({activation!r})] * depth, width=…)"
        raise _fail("activation", "a function of one number", activation, hint)
    if not pairs.is_pair_name(activation):
        activations.get(activation)


def _spelled(field: str, value: object) -> str:
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
    raise _fail(field, "something that a name gives back, to write it down", value, "use a registered name")
