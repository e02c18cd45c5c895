"""RandomNetwork: the one description of a random network that theory, ensembles and builders share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Unpack, get_args

from firstlight.clean_room import clean
from firstlight.errors import DomainError
from firstlight.files.plain_data import Record
from firstlight.network_fields import (
    Chained,
    LayerFields,
    NetworkFields,
    Norm,
    Parametrisation,
    check_activation,
    check_alone,
    check_counts,
    fail,
    law_as_object,
    law_as_text,
    spelled,
)
from firstlight.network_fields import Described as Described

if TYPE_CHECKING:
    from firstlight.activations import Activation
    from firstlight.weights import WeightLaw

NORMS: tuple[str, ...] = get_args(Norm)


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
        Number of weight layers, at least 1; the profile has one row for each. Blocks give the depth by themselves.
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
        ``first_layer`` for this activation and depth; None where these fields are given directly.
    blocks
        None for equal layers, which the fields above describe. Else the blocks behind the first layer: objects of
        ``builders.blocks``, or a text such as ``"6 * (gated('swiglu') + rms)"`` (`firstlight.builders.blocks.read`).
        ``sigma_w``, ``sigma_b`` and ``first_layer`` are then those of the first layer, ``width`` is one number or one
        behind each of them, and the other fields keep their defaults; ``chain`` is the same network as a
        `firstlight.builders.blocks.Chain`.

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

    Blocks that differ:

    >>> net = RandomNetwork(width=100, blocks="2 * (nf('relu') + rms)")
    >>> net.depth, net.names
    (5, ('first', '1 nf(relu)', '2 rms', '3 nf(relu)', '4 rms'))
    """

    depth: int = 0
    width: int | Sequence[int] = 0
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
    blocks: Any = None

    def __post_init__(self) -> None:
        if self.blocks is not None:
            self._read_blocks()
        self._check_shape()
        if self.recipe is not None:
            self._read_recipe()
        for name in ("sigma_w", "sigma_b", "skip", "branch", "dropout"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise fail(name, "to be a finite number", value, "give a float")
            if abs(value) > _LARGEST:
                raise fail(name, f"at most {_LARGEST:g}", value, "its square must be a number too")
            if value < 0 and name.startswith("sigma"):
                raise fail(name, "≥ 0", value, "it is a standard deviation")
            object.__setattr__(self, name, float(value))
        if not 0 <= self.dropout < 1:
            raise fail("dropout", "in [0, 1)", self.dropout, "it is the probability of dropping a unit")
        if self.norm is not None and self.norm not in NORMS:
            raise fail("norm", f"None or one of {', '.join(NORMS)}", self.norm, "choose one of these")
        if self.kernel_size is not None and self.norm in ("layer", "rms"):
            raise fail("norm", "None or over the batch in a convolutional network", self.norm, "leave it out")
        if self.parametrisation not in get_args(Parametrisation):
            raise fail("parametrisation", "'standard' or 'ntk'", self.parametrisation, "choose one of these")
        check_activation(self.activation, pair=_is_pair(self.activation))
        for name in ("weight_law", "first_layer"):
            object.__setattr__(self, name, law_as_text(name, getattr(self, name)))

    def _read_recipe(self) -> None:
        """Let the recipe set the scales and laws. The room of recipes stands above; the front door knows the way."""
        import firstlight

        check_activation(self.activation, pair=_is_pair(self.activation))
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

    def _read_blocks(self) -> None:
        """Turn a text into blocks, and take the depth from them. The room of blocks stands above as well."""
        import firstlight

        blocks = firstlight.builders.blocks.read(self.blocks)
        object.__setattr__(self, "blocks", blocks)
        if self.depth not in (0, len(blocks) + 1):
            raise fail("depth", f"{len(blocks) + 1} for {len(blocks)} blocks", self.depth, "leave depth out")
        object.__setattr__(self, "depth", len(blocks) + 1)
        check_alone(self)

    def _check_shape(self) -> None:
        for name in ("depth", "width", "in_features", "kernel_size"):
            value = getattr(self, name)
            if isinstance(value, list | tuple) and name in ("width", "kernel_size"):
                object.__setattr__(self, name, tuple(value))
                check_counts(name, value or (0,))
            elif value is not None:
                check_counts(name, (value,))
        if isinstance(self.width, tuple) and len(self.width) != self.depth:
            hint = "give one width per layer or one number"
            raise fail("width", f"to have {self.depth} entries for depth {self.depth}", self.width, hint)
        if self.blocks is not None and isinstance(self.width, tuple):
            _ = self.chain  # refuses another width behind a block that keeps it
        if self.skip != 0 and len(set(self.widths)) > 1:
            raise fail("width", "to be the same in every layer when skip ≠ 0", self.width, "set skip=0")

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
            raise fail("frequency", "> 0", frequency, "the paper takes 30")
        if isinstance(in_features, bool) or not isinstance(in_features, int) or in_features < 1:
            raise fail("in_features", "to be an integer ≥ 1", in_features, "the first layer's law needs it")
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

    @property
    def names(self) -> tuple[str, ...]:
        """What the rows of a profile are called: ``"layer 1"`` and so on, or the names of the blocks."""
        if self.blocks is not None:
            return self.chain.names
        return tuple(f"layer {index}" for index in range(1, self.depth + 1))

    @property
    def chain(self) -> Chained:
        """The network as a chain of blocks; `firstlight.builders.blocks.Chain.of` says which networks have one."""
        import firstlight

        found: Chained = firstlight.builders.blocks.Chain.of(self)
        return found

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
            raise fail(
                "images", f"with dimensions for kernel_size={size}", dimensions, "shape (inputs, channels, …)"
            )
        return sizes

    @property
    def law(self) -> WeightLaw:
        """The law of the weights of layers 2, 3, … as an object."""
        return law_as_object(self.weight_law)

    @property
    def first_law(self) -> WeightLaw:
        """The law of the weights of layer 1 as an object."""
        return law_as_object(self.first_layer)

    @cached_property
    @clean
    def phi(self) -> Activation:
        """The activation as an object, made once.

        Raises
        ------
        DomainError
            A network of blocks, which has no single activation.
        """  # noqa: DOC501
        from firstlight import activations, pairs

        if self.blocks is not None:
            hint = "predict(network) and simulate(network) take blocks, and network.chain.build makes a torch module"
            raise fail("equal layers", "where their one activation is asked for", list(self.names[1:4]), hint)
        if _is_pair(self.activation):
            return activations.get(pairs.by_name(str(self.activation)).activation)
        return activations.get(self.activation)

    def with_(self, **changes: Unpack[NetworkFields]) -> RandomNetwork:
        """The same network with some fields changed; a scale or a law that is changed takes the recipe away."""
        known = [f.name for f in fields(self)]
        unknown = sorted(set(changes) - set(known))
        if unknown:
            raise fail("field names", f"among {', '.join(known)}", unknown, "check the spelling")
        if self.recipe is not None and {"sigma_w", "sigma_b", "weight_law", "first_layer"} & set(changes):
            changes = {"recipe": None, **changes}  # the scales are no longer the recipe's
        if "blocks" in changes and changes["blocks"] is not None:
            changes = {"depth": 0, **changes}  # the new blocks say the depth
        return replace(self, **changes)

    def to_dict(self) -> Record:
        """The fields as plain values that JSON and TOML can hold; fields that are None are left out.

        Raises
        ------
        DomainError
            A callable activation or a law object without a name that gives it back.
        """
        result: dict[str, object] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if value is None or (self.blocks is not None and value == f.default):
                continue  # beside blocks, what a chain does not say stays out
            if f.name in ("activation", "weight_law", "first_layer"):
                value = spelled(f.name, value)
            elif f.name == "blocks":
                import firstlight

                value = firstlight.builders.blocks.spelled(value)
            result[f.name] = list(value) if isinstance(value, tuple) else value
        return result

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RandomNetwork:
        """The inverse of ``to_dict``; a missing field takes its default."""
        known = [f.name for f in fields(cls)]
        unknown = sorted(set(data) - set(known))
        if unknown:
            raise fail("field names", f"among {', '.join(known)}", unknown, "check the spelling")
        missing = sorted({"width"} - set(data) if "blocks" in data else {"depth", "width"} - set(data))
        if missing:
            raise fail(
                "the fields depth and width", "to be given", f"no {' and no '.join(missing)}", "add them"
            )
        return cls(**data)


def _is_pair(activation: object) -> bool:
    from firstlight import pairs

    return isinstance(activation, str) and pairs.is_pair_name(activation)


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
