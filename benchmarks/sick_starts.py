"""Sick starts for the bench of ``fix``: networks on 8×8 digits that their initialisation keeps from training."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

WIDTH = 48
Act = Callable[[], nn.Module]
Init = Callable[[nn.Module], object]


def dense(
    phi: Act, depth: int, *, init: Init | None = None, norm: Callable[[int], nn.Module] | None = None
) -> nn.Sequential:
    """An MLP by torch's default, with ``init`` applied to every linear layer before the readout."""
    layers: list[nn.Module] = []
    for index in range(depth):
        linear = nn.Linear(64 if index == 0 else WIDTH, WIDTH)
        if init is not None:
            init(linear)
        layers += [linear, *([norm(WIDTH)] if norm else []), phi()]
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(WIDTH, 10))


def scaled(sigma_w: float) -> Init:
    """Normal weights of variance σ_w²/fan-in, zero biases."""

    def init(module: nn.Module) -> None:
        weight = module.weight
        nn.init.normal_(weight, std=sigma_w / math.sqrt(weight[0].numel()))
        nn.init.zeros_(module.bias)

    return init


def everywhere(std: float) -> Init:
    """Normal weights of one standard deviation, whatever the fan-in."""
    return lambda module: nn.init.normal_(module.weight, std=std)


def one(make: Callable[[], nn.Module], index: int, change: Callable[[nn.Module], object]) -> nn.Module:
    """A network one of whose linear or convolutional layers is changed."""
    model = make()
    layers = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    with torch.no_grad():
        change(layers[index])
    return model


def every(make: Callable[[], nn.Module], change: Callable[[nn.Module], object]) -> nn.Module:
    """A network all of whose linear layers but the readout are changed."""
    model = make()
    with torch.no_grad():
        for layer in [m for m in model.modules() if isinstance(m, nn.Linear)][:-1]:
            change(layer)
    return model


class Residual(nn.Module):
    """A stem, blocks x + W₂ relu(W₁ x) and a readout."""

    def __init__(self, blocks: int, gain: float) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(64, WIDTH), nn.Linear(WIDTH, 10)
        self.a, self.b = (nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(blocks)) for _ in range(2))
        for layer in (*self.a, *self.b):
            scaled(gain)(layer)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x.flatten(1))
        for a, b in zip(self.a, self.b, strict=True):
            x = x + b(torch.relu(a(x)))
        return self.head(x)


class Bare(nn.Module):
    """Matrices that no layer holds."""

    def __init__(self, value: float, std: float) -> None:
        super().__init__()
        self.w = nn.ParameterList(
            nn.Parameter(value + std * torch.randn(64 if i == 0 else WIDTH, WIDTH)) for i in range(5)
        )
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        for w in self.w:
            x = torch.relu(x @ w)
        return self.head(x)


class Rows(nn.Module):
    """A recurrent layer over the eight rows of a digit."""

    def __init__(self, sigma_w: float) -> None:
        super().__init__()
        self.cell, self.head = nn.RNN(8, WIDTH, batch_first=True), nn.Linear(WIDTH, 10)
        nn.init.normal_(self.cell.weight_hh_l0, std=sigma_w / math.sqrt(WIDTH))
        nn.init.normal_(self.cell.weight_ih_l0, std=sigma_w / math.sqrt(8))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(x.squeeze(1))[0][:, -1])


class Encoder(nn.Module):
    """Transformer layers without normaliser over the rows, with weights of one standard deviation."""

    def __init__(self, layers: int, std: float, *, norm: bool) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(8, WIDTH), nn.Linear(WIDTH, 10)
        made = [
            nn.TransformerEncoderLayer(WIDTH, 4, 2 * WIDTH, 0.0, batch_first=True, norm_first=False)
            for _ in range(layers)
        ]
        for layer in made:
            if not norm:
                layer.norm1 = layer.norm2 = nn.Identity()
            for p in layer.parameters():
                if p.ndim == 2:
                    nn.init.normal_(p, std=std)
        self.layers = nn.Sequential(*made)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(self.stem(x.squeeze(1))).mean(1))


def conv(phi: Act, depth: int, init: Init | None = None) -> nn.Sequential:
    """Convolutions with 3×3 kernels and 12 channels."""
    layers: list[nn.Module] = []
    for index in range(depth):
        layer = nn.Conv2d(1 if index == 0 else 12, 12, 3, padding=1)
        if init is not None:
            init(layer)
        layers += [layer, phi()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(48, 10))


def _clone(module: nn.Module) -> None:
    module.weight.copy_(module.weight[:1].expand_as(module.weight).clone())


def _nan(module: nn.Module) -> None:
    module.weight[0, 0] = math.nan


R, T, G = nn.ReLU, nn.Tanh, nn.GELU
STARTS: dict[str, Callable[[], nn.Module]] = {
    "20 × ReLU, torch's default": lambda: dense(R, 20),
    "40 × ReLU, torch's default": lambda: dense(R, 40),
    "30 × LeakyReLU, torch's default": lambda: dense(nn.LeakyReLU, 30),
    "20 × GELU, torch's default": lambda: dense(G, 20),
    "20 × SiLU, torch's default": lambda: dense(nn.SiLU, 20),
    "20 × Mish, torch's default": lambda: dense(nn.Mish, 20),
    "20 × Hardswish, torch's default": lambda: dense(nn.Hardswish, 20),
    "30 × ELU, torch's default": lambda: dense(nn.ELU, 30),
    "12 × sigmoid, torch's default": lambda: dense(nn.Sigmoid, 12),
    "12 × softplus, torch's default": lambda: dense(nn.Softplus, 12),
    "20 × tanh, torch's default": lambda: dense(T, 20),
    "60 × (LayerNorm, ReLU), torch's default": lambda: dense(R, 60, norm=nn.LayerNorm),
    "40 × (BatchNorm, ReLU), torch's default": lambda: dense(R, 40, norm=nn.BatchNorm1d),
    "15 × ReLU, σ_w = .7": lambda: dense(R, 15, init=scaled(0.7)),
    "20 × ReLU, σ_w = 2.2": lambda: dense(R, 20, init=scaled(2.2)),
    "20 × tanh, σ_w = .5": lambda: dense(T, 20, init=scaled(0.5)),
    "40 × tanh, σ_w = 2": lambda: dense(T, 40, init=scaled(2.0)),
    "15 × tanh, σ_w = 5": lambda: dense(T, 15, init=scaled(5.0)),
    "20 × GELU, σ_w = 3": lambda: dense(G, 20, init=scaled(3.0)),
    "20 × SiLU, σ_w = .8": lambda: dense(nn.SiLU, 20, init=scaled(0.8)),
    "8 × ReLU, std = .02": lambda: dense(R, 8, init=everywhere(0.02)),
    "8 × GELU, std = .02": lambda: dense(G, 8, init=everywhere(0.02)),
    "8 × ReLU, std = .5": lambda: dense(R, 8, init=everywhere(0.5)),
    "6 × ReLU, std = 1": lambda: dense(R, 6, init=everywhere(1.0)),
    "6 × tanh, std = 1": lambda: dense(T, 6, init=everywhere(1.0)),
    "6 × ReLU, weights in 0…1": lambda: dense(R, 6, init=lambda m: nn.init.uniform_(m.weight)),
    "6 × ReLU, constant weights": lambda: dense(R, 6, init=lambda m: nn.init.constant_(m.weight, 0.05)),
    "6 × tanh, zero weights": lambda: dense(T, 6, init=lambda m: nn.init.zeros_(m.weight)),
    "6 × ReLU, cloned units": lambda: every(lambda: dense(R, 6), _clone),
    "6 × ReLU, one weight NaN": lambda: one(lambda: dense(R, 6), 3, _nan),
    "3 × ReLU, head NaN": lambda: one(lambda: dense(R, 3), -1, _nan),
    "6 × ReLU, a zero layer": lambda: one(lambda: dense(R, 6), 2, lambda m: m.weight.zero_()),
    "6 × ReLU, biases −5": lambda: every(lambda: dense(R, 6), lambda m: m.bias.fill_(-5.0)),
    "6 × sigmoid, biases +8": lambda: every(lambda: dense(nn.Sigmoid, 6), lambda m: m.bias.fill_(8.0)),
    "8 × tanh (σ_w = 1), one layer × 100": lambda: one(
        lambda: dense(T, 8, init=scaled(1.0)), 4, lambda m: m.weight.mul_(100.0)
    ),
    "8 × ReLU (σ_w = √2), one layer × .001": lambda: one(
        lambda: dense(R, 8, init=scaled(2**0.5)), 4, lambda m: m.weight.mul_(1e-3)
    ),
    "15 residual blocks, σ_w = √2": lambda: Residual(15, 2**0.5),
    "30 residual blocks, σ_w = 1": lambda: Residual(30, 1.0),
    "8 residual blocks, σ_w = 2.5": lambda: Residual(8, 2.5),
    "5 bare matrices, constant": lambda: Bare(0.05, 0.0),
    "5 bare matrices, zero": lambda: Bare(0.0, 0.0),
    "5 bare matrices, std = 1": lambda: Bare(0.0, 1.0),
    "12 × (conv, ReLU), torch's default": lambda: conv(R, 12),
    "16 × (conv, tanh), σ_w = 2.5": lambda: conv(T, 16, scaled(2.5)),
    "8 × (conv, ReLU), std = .01": lambda: conv(R, 8, everywhere(0.01)),
    "recurrent, σ_w = 8": lambda: Rows(8.0),
    "6 transformer layers, no norm, std = .5": lambda: Encoder(6, 0.5, norm=False),
    "8 transformer layers, post-norm, std = .5": lambda: Encoder(8, 0.5, norm=True),
}
