"""`get`: an activation from a name, a torch module or any callable."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from firstlight.activations._known import look_up_with
from firstlight.activations.activation import Activation, from_callable
from firstlight.activations.families._catalogue import CATALOGUE
from firstlight.activations.families._library import ALIASES, FAMILIES, FIXED
from firstlight.activations.families._series import SERIES
from firstlight.activations.families._surrogates import SURROGATES
from firstlight.clean_room import clean
from firstlight.doors import checked
from firstlight.errors import DomainError, did_you_mean

_MAKERS: dict[str, Callable[..., Activation]] = {**CATALOGUE, **SERIES, **SURROGATES, **FAMILIES}
_CALL = re.compile(r"([a-z_0-9]+)\s*(?:\((.*)\))?", re.IGNORECASE)
_REGISTERED: dict[str, Activation] = {}

_MODULES: dict[type[nn.Module], Callable[[Any], str]] = {
    nn.Identity: lambda m: "linear",
    nn.ReLU: lambda m: "relu",
    nn.ReLU6: lambda m: "relu6",
    nn.LeakyReLU: lambda m: f"leaky_relu({m.negative_slope!r})",
    nn.ELU: lambda m: f"elu({m.alpha!r})",
    nn.CELU: lambda m: f"celu({m.alpha!r})",
    nn.SELU: lambda m: "selu",
    nn.GELU: lambda m: "gelu" if m.approximate == "none" else "gelu_tanh",
    nn.SiLU: lambda m: "silu",
    nn.Mish: lambda m: "mish",
    nn.Tanh: lambda m: "tanh",
    nn.Sigmoid: lambda m: "sigmoid",
    nn.Softsign: lambda m: "softsign",
    nn.Hardtanh: lambda m: f"hardtanh({m.min_val!r}, {m.max_val!r})",
    nn.Hardsigmoid: lambda m: "hardsigmoid",
    nn.Hardswish: lambda m: "hardswish",
    nn.LogSigmoid: lambda m: "logsigmoid",
    nn.Tanhshrink: lambda m: "tanhshrink",
    nn.Hardshrink: lambda m: f"hardshrink({m.lambd!r})",
    nn.Softshrink: lambda m: f"softshrink({m.lambd!r})",
    nn.Threshold: lambda m: f"threshold({m.threshold!r}, {m.value!r})",
    # In evaluation mode, as everywhere in theory, its slope is the middle of its range.
    nn.RReLU: lambda m: f"leaky_relu({(m.lower + m.upper) / 2!r})",
}


@clean
def names() -> tuple[str, ...]:
    """Names that ``get`` knows; those of families take parameters, as in ``"leaky_relu(0.2)"``.

    Examples
    --------
    >>> from firstlight import activations
    >>> "tanh" in activations.names()
    True
    """
    return tuple(sorted({*FIXED, *_MAKERS, *_REGISTERED}))


@checked
@clean
def register(activation: Activation, *, replace: bool = False) -> Activation:
    """Make an activation known by its name, and return it.

    Raises
    ------
    DomainError
        The name is taken and ``replace`` is false.
    """
    if activation.name in names() and not replace:
        raise DomainError(
            f"while registering an activation: expected a new name, got {activation.name!r}; "
            "pass replace=True to take its place"
        )
    _REGISTERED[activation.name] = activation
    return activation


# Functions of two numbers, by their parts: what `gate` makes.
GATES: dict[str, tuple[str, str]] = {
    "glu": ("linear", "sigmoid"),
    "swiglu": ("linear", "silu"),
    "geglu": ("linear", "gelu"),
    "reglu": ("linear", "relu"),
    "bilinear": ("linear", "linear"),
    "drelu": ("relu", "relu"),
}


@clean
def get(x: Any) -> Activation:
    """The activation that ``x`` names or is.

    Parameters
    ----------
    x
        A name such as ``"tanh"`` or ``"leaky_relu(0.2)"``, an ``nn.Module``, an ``Activation``, an object whose class
        has a method ``as_activation()`` that returns one, or a callable of one tensor, array or float, whose kinks,
        parity and degree are then detected.

    Raises
    ------
    DomainError
        An unknown name, or a callable that does not act entry by entry.

    Examples
    --------
    >>> import torch
    >>> from firstlight import activations
    >>> activations.get("relu").kinks, activations.get(torch.nn.LeakyReLU(0.2)).name
    ((0.0,), 'leaky_relu(0.2)')
    """
    if isinstance(x, Activation):
        return x
    if isinstance(x, str):
        return _by_name(x)
    if hasattr(type(x), "as_activation"):
        made: Activation = x.as_activation()
        return made
    if isinstance(x, nn.Module) and type(x) in _MODULES:
        return _by_name(_MODULES[type(x)](x))
    if isinstance(x, nn.PReLU) and x.weight.numel() == 1:
        return _by_name(f"leaky_relu({float(x.weight.detach())!r})")
    if isinstance(x, type):
        raise DomainError(
            f"while looking up an activation: expected a name, a module or a function, got the class {x.__name__}; "
            f"make one of the class: {x.__name__}()"
        )
    return _known_function(x) or from_callable(x)


def _known_function(x: object) -> Activation | None:
    for activation in FIXED.values():
        if activation.function is x:
            return activation
    name = _TORCH_FUNCTIONS.get(id(x))
    return _library(name) if name else None


_TORCH_FUNCTIONS = {
    id(function): name
    for name in (
        "relu",
        "tanh",
        "sigmoid",
        "selu",
        "silu",
        "gelu",
        "erf",
        "sin",
        "cos",
        "exp",
        "abs",
        "sign",
        "tanhshrink",
    )
    for space in (torch, torch.nn.functional, torch.Tensor, torch.special)
    if (function := getattr(space, name, None)) is not None
}


def _by_name(name: str) -> Activation:
    return _REGISTERED[name] if name in _REGISTERED else _library(name)


def _library(name: str) -> Activation:
    """The library's own activation of this name, whatever a user has registered in its place."""
    match = _CALL.fullmatch(name.strip())
    base = match[1].lower().replace("-", "_") if match else ""
    base = ALIASES.get(base, base)
    if match and match[2] is None and base in FIXED:
        return FIXED[base]
    maker = _MAKERS.get(base)
    if match and match[2] is not None and base in FIXED and maker is None:
        raise DomainError(
            f"while looking up an activation: expected no parameters of {base}, got ({match[2]}); write {base!r}"
        )
    if base in GATES:
        raise DomainError(
            f"while looking up an activation: expected a function of one number, got {name!r}, a gate of two inputs; "
            f"use activations.gate({base!r})"
        )
    if match is None or maker is None:
        raise DomainError(
            f"while looking up an activation: expected one of {', '.join(names())}, got {name!r}; "
            f"or pass the function itself{did_you_mean(name, names())}"
        )
    return _made(base, match[2] or "")


look_up_with(_by_name, _library)


_UNCLIPPED = ("crelu", "cst")  # ∞ is the bound of one that has none


@lru_cache(maxsize=1024)
@clean
def _made(base: str, arguments: str) -> Activation:
    maker = _MAKERS[base]
    positional, named = [], {}
    try:
        for part in filter(None, (p.strip() for p in arguments.split(","))):
            key, equals, value = part.rpartition("=")
            if equals:
                named[key.strip()] = float(value)
            else:
                positional.append(float(value))
        values = (*positional, *named.values())
        if any(map(math.isnan, values)) or (base not in _UNCLIPPED and any(map(math.isinf, values))):
            raise DomainError(
                f"while making the activation {base!r}: expected finite numbers for its parameters, got ({arguments})"
            )
        return maker(*positional, **named)
    except (TypeError, ValueError) as error:
        if isinstance(error, DomainError):
            raise
        raise DomainError(
            f"while making the activation {base!r}: expected numbers for its parameters, got "
            f"({arguments}); {error}"
        ) from error
