"""Starts: architectures drawn at random, and four ways each of them begins."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from firstlight.experiments.verdicts.networks import (
    Block,
    Family,
    Mixer,
    Recurrent,
    Transformer,
    chain,
    residual,
)

STARTS = ("recipe", "default", "drawn", "drawn again")
# the first architectures are halved into those that lines were chosen on and those that were held out; the fresh ones,
# from the number below on, were drawn and trained afterwards, and audited once their lines were final
FIRST, FRESH = 150, 160
# a second fresh part, drawn when the lines of the third round were final: other kinds, activations, widths and data
COUNT_FRESH, KINDS = 58, 400
# a round of sixteen architectures has every family in the same shares
_ROUND: tuple[Family, ...] = (
    *("dense", "residual", "dense", "transformer", "dense", "convolutional", "dense", "recurrent"),
    *("dense", "residual", "dense", "transformer", "residual", "convolutional", "residual", "recurrent"),
)  # fmt: skip
_DEEPEST: dict[str, int] = {"dense": 200, "residual": 100, "convolutional": 24, "transformer": 16}
_ROUND_KINDS: tuple[Family, ...] = (
    *("dense", "gated", "residual convolutional", "transformer", "dense", "residual", "gated", "recurrent"),
    *("dense", "gated", "convolutional", "transformer", "residual", "dense", "residual convolutional"),
    "recurrent",
)  # fmt: skip
_DEEPEST_KINDS: dict[str, int] = {
    "dense": 120, "residual": 60, "gated": 60, "convolutional": 12, "residual convolutional": 6, "transformer": 12,
}  # fmt: skip
# σ_w at which the slope χ₁ is 1 (q → 0 for tanh and sigmoid, q = 1 for the rest), by Gaussian integrals
_CRITICAL = {"relu": 1.4142, "tanh": 1.0, "gelu": 1.4810, "silu": 1.6233, "elu": 1.2234, "sigmoid": 4.0}
_CRITICAL |= {"leaky relu": 1.4141, "mish": 1.4448, "softplus": 1.8462}
FAULTS = ("layer × 30", "layer × 0.01", "zero layer", "constant layer", "biases − 3")


@dataclass(frozen=True)
class Architecture:
    """One architecture and its data.

    Attributes
    ----------
    number
        From 0; the draw of a number does not depend on how many are drawn.
    family, data, depth, width, activation, norm
        What it is: ``data`` is digits, mnist, fashion-mnist or tokens; ``depth`` counts layers, blocks, or steps of
        time; ``norm`` is the kind of the normaliser or, for recurrent ones, of the cell.
    """

    number: int
    family: Family
    data: str
    depth: int
    width: int
    activation: str
    norm: str

    @property
    def images(self) -> bool:
        """Whether it reads images as images."""
        return self.family in ("convolutional", "residual convolutional")


@dataclass(frozen=True)
class Start:
    """How the weights of an architecture begin.

    Attributes
    ----------
    architecture
        Whose start.
    number, name
        0 ``recipe``: orthogonal and critical, branches times 1/√depth; 1 ``default``: as torch makes it; 2 and 3:
        drawn.
    scale, bias
        Factor on the critical σ_w, and σ_b.
    branch
        Factor on the last weight of each residual branch.
    fault
        One of `FAULTS`, or nothing.
    """

    architecture: Architecture
    number: int
    name: str
    scale: float = 1.0
    bias: float = 0.0
    branch: float = 1.0
    fault: str = ""

    @property
    def identity(self) -> str:
        """Architecture and start, such as ``"12.3"``."""
        return f"{self.architecture.number}.{self.number}"


def part(number: int) -> str:
    """Where an architecture belongs: ``"training"``, ``"held out"``, ``"fresh"`` or ``"new kinds"``."""
    if number >= KINDS:
        return "new kinds"
    if number >= FRESH:
        return "fresh"
    return "held out" if (number // 16 + number) % 2 else "training"


def number_at(place: int) -> int:
    """The number of the architecture at a place in the study: the halves, the fresh part, then the new kinds."""
    if place < FIRST:
        return place
    return place - FIRST + FRESH if place < FIRST + COUNT_FRESH else place - FIRST - COUNT_FRESH + KINDS


def architecture(number: int, *, seed: int = 0) -> Architecture:
    """The architecture of a number.

    Examples
    --------
    >>> from firstlight.experiments.verdicts import architecture
    >>> one = architecture(0)
    >>> one.family, 2 <= one.depth <= 200
    ('dense', True)
    """
    if number >= KINDS:
        return _of_new_kinds(number, seed)
    g = _generator(seed, number, 0)
    family = _ROUND[number % len(_ROUND)]
    data = _pick(g, ("digits", "digits", "mnist", "tokens"))
    if family == "convolutional":
        data = _pick(g, ("digits", "mnist"))
    width = int(_pick(g, ("24", "32", "48")))
    activation = _pick(g, ("relu", "relu", "tanh", "gelu", "silu", "elu", "sigmoid"))
    norm = _pick(g, ("none", "none", "batch", "layer", "rms" if family != "convolutional" else "none"))
    if family == "transformer":
        norm, activation = _pick(g, ("pre", "pre", "post", "none")), _pick(g, ("relu", "gelu"))
        data = _pick(g, ("tokens", "digits"))
    if family == "recurrent":
        norm, activation = _pick(g, ("rnn", "gru", "lstm")), "tanh"
        data = _pick(g, ("tokens", "tokens", "digits", "mnist"))
    if family == "convolutional":
        width = 8
    if family == "recurrent":
        depth = {"digits": 8, "mnist": 14}.get(data, _log_uniform(g, 10, 120))
    else:
        depth = _log_uniform(g, 2, _DEEPEST[family])
    return Architecture(number, family, data, depth, width, activation, norm)


def _of_new_kinds(number: int, seed: int) -> Architecture:
    g = _generator(seed, number, 0)
    family = _ROUND_KINDS[number % len(_ROUND_KINDS)]
    images = family in ("convolutional", "residual convolutional")
    data = _pick(g, ("digits", "fashion-mnist") if images else ("digits", "fashion-mnist", "tokens"))
    width = 8 if images else int(_pick(g, ("16", "32", "64")))
    activation = _pick(g, ("relu", "leaky relu", "mish", "softplus", "tanh", "gelu"))
    norm = _pick(g, ("none", "none", "batch", "layer", "none" if images else "rms"))
    if family == "transformer":
        norm = _pick(g, ("pre", "pre", "post", "none"))
    if family == "recurrent":
        norm, activation = _pick(g, ("rnn", "gru", "lstm")), "tanh"
        depth = {"digits": 8, "fashion-mnist": 14}.get(data, _log_uniform(g, 8, 60))
    else:
        depth = _log_uniform(g, 2, _DEEPEST_KINDS[family])
    return Architecture(number, family, data, depth, width, activation, norm)


def starts(one: Architecture, *, seed: int = 0) -> tuple[Start, ...]:
    """The four starts of an architecture; a third of the drawn ones has a fault beside its scale."""
    branch = 1.0 / math.sqrt(one.depth)
    found = [Start(one, 0, "recipe", branch=branch), Start(one, 1, "default")]
    for number in (2, 3):
        g = _generator(seed, one.number, number)
        scale = math.exp(float(torch.empty(1).uniform_(-1.1, 1.1, generator=g)))
        bias = float(_pick(g, ("0", "0", "0.1", "0.5")))
        wide = math.exp(float(torch.empty(1).uniform_(math.log(branch), 0.7, generator=g)))
        fault = _pick(g, FAULTS) if float(torch.rand(1, generator=g)) < 1 / 3 else ""
        found.append(Start(one, number, STARTS[number], scale, bias, wide, fault))
    return tuple(found)


def build(start: Start, inputs: int, length: int, classes: int = 10, *, seed: int = 0) -> nn.Module:
    """The module of a start: ``inputs`` features (of a row, or of a sample), or 0 for tokens."""
    one = start.architecture
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1_000_003 * seed + 10 * one.number + start.number)
        shape = {"depth": one.depth, "width": one.width, "activation": one.activation, "norm": one.norm}
        model: nn.Module
        if one.family == "transformer":
            model = Transformer(inputs, classes, length=length, **shape)  # type: ignore[arg-type]
        elif one.family == "recurrent":
            model = Recurrent(inputs, classes, width=one.width, kind=one.norm)
        elif one.family in ("residual", "gated", "residual convolutional"):
            model = residual(inputs, classes, kind=one.family, **shape)  # type: ignore[arg-type]
        else:
            model = chain(inputs, classes, images=one.images, **shape)  # type: ignore[arg-type]
    if start.name != "default":
        with torch.no_grad():
            _write(model, start, _generator(seed, one.number, 100 + start.number))
    return model


def _write(model: nn.Module, start: Start, g: torch.Generator) -> None:
    if isinstance(model, Recurrent):
        _write_recurrent(model, start, g)
        return
    weights = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    reads = _critical_factors(model, start.architecture.activation)
    for module in weights:
        scale = start.scale * reads.get(id(module), 1.0)
        _draw(module.weight, scale, orthogonal=start.name == "recipe", g=g)
        if module.bias is not None:
            module.bias.copy_(start.bias * torch.randn(module.bias.shape, generator=g))
            if (
                start.name == "recipe"
                and start.architecture.activation == "sigmoid"
                and reads.get(id(module))
            ):
                # the sigmoid gives ½ on average: the bias takes the common part out
                module.bias.copy_(-0.5 * module.weight.flatten(1).sum(1))
    for part in model.modules():
        if isinstance(part, Block):
            part.last.weight.mul_(start.branch)
        elif isinstance(part, Mixer) and part.norm != "post":
            part.out.weight.mul_(start.branch)
            part.down.weight.mul_(start.branch)
    _break(start, weights, g)


def _critical_factors(model: nn.Module, activation: str) -> dict[int, float]:
    """The critical σ_w of each weight that reads an activation; the others keep their inputs' size."""
    wanted: dict[int, float] = {}
    factor = _CRITICAL[activation]
    if isinstance(model, nn.Sequential) and not any(isinstance(m, Block) for m in model):
        chain_ = [m for m in model if isinstance(m, nn.Linear | nn.Conv2d)]
        wanted |= {id(m): factor for m in chain_[1:]}
    wanted |= {id(m.last): factor for m in model.modules() if isinstance(m, Block)}
    wanted |= {id(m.down): factor for m in model.modules() if isinstance(m, Mixer)}
    return wanted


def _write_recurrent(model: Recurrent, start: Start, g: torch.Generator) -> None:
    size = model.cell.hidden_size
    for name, parameter in model.cell.named_parameters():
        if name.startswith("weight"):
            for part in parameter.split(size):
                _draw(part, start.scale, orthogonal=start.name == "recipe", g=g)
        else:
            parameter.copy_(start.bias * torch.randn(parameter.shape, generator=g))
    if start.name == "recipe" and model.kind == "lstm":
        model.cell.bias_ih_l0[size : 2 * size] = 1.0
    _draw(model.head.weight, 1.0, orthogonal=False, g=g)
    if start.fault == "zero layer":
        model.cell.weight_hh_l0.zero_()
    elif start.fault == "constant layer":
        model.cell.weight_ih_l0.fill_(0.1)
    elif start.fault:
        factor = {"layer × 30": 30.0, "layer × 0.01": 0.01}.get(start.fault, 1.0)
        model.cell.weight_hh_l0.mul_(factor)


def _draw(weight: Tensor, scale: float, *, orthogonal: bool, g: torch.Generator) -> None:
    """Normal entries of variance scale²/fan-in, or an orthogonal matrix (kernels: in the middle tap) of that size."""
    if not orthogonal:
        fan_in = weight[0].numel()
        weight.copy_(torch.randn(weight.shape, generator=g) * (scale / math.sqrt(fan_in)))
        return
    rows, columns = weight.shape[:2]
    square = torch.randn(max(rows, columns), min(rows, columns), generator=g, dtype=torch.float64)
    q, r = torch.linalg.qr(square)
    q = q * r.diagonal().sign()
    matrix = (q if rows >= columns else q.T) * scale * math.sqrt(max(rows, columns) / columns)
    weight.zero_()
    target = weight[..., 1, 1] if weight.ndim == 4 else weight
    target.copy_(matrix)


def _break(start: Start, weights: list[nn.Linear | nn.Conv2d], g: torch.Generator) -> None:
    inner = weights[: max(len(weights) - 1, 1)]
    module = inner[int(torch.randint(len(inner), (1,), generator=g))]
    if start.fault == "biases − 3":
        for one in inner:
            if one.bias is not None:
                one.bias.sub_(3.0)
    elif start.fault == "zero layer":
        module.weight.zero_()
    elif start.fault == "constant layer":
        module.weight.fill_(1.0 / math.sqrt(module.weight[0].numel()))
    elif start.fault:
        module.weight.mul_(30.0 if start.fault == "layer × 30" else 0.01)


def _generator(seed: int, number: int, part: int) -> torch.Generator:
    return torch.Generator().manual_seed((seed * 7_368_787 + number) * 1_009 + part)


def _pick(g: torch.Generator, choices: tuple[str, ...]) -> str:
    return choices[int(torch.randint(len(choices), (1,), generator=g))]


def _log_uniform(g: torch.Generator, low: int, high: int) -> int:
    share = float(torch.rand(1, generator=g))
    return round(math.exp(math.log(low) + share * (math.log(high) - math.log(low))))
