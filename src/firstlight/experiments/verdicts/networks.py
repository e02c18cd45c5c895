"""Networks of the study: ordinary torch modules of seven families, from depth 2 to 200."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Family = Literal[
    "dense", "convolutional", "residual", "transformer", "recurrent", "gated", "residual convolutional"
]

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU, "silu": nn.SiLU, "elu": nn.ELU, "sigmoid": nn.Sigmoid,
    "leaky relu": nn.LeakyReLU, "mish": nn.Mish, "softplus": nn.Softplus,
}  # fmt: skip
TOKENS = 10


def normaliser(kind: str, width: int, *, images: bool = False) -> nn.Module:
    """A normaliser by its kind: none, batch (statistics of the batch alone), layer or rms."""
    if kind == "batch":
        made = nn.BatchNorm2d if images else nn.BatchNorm1d
        return made(width, track_running_stats=False)
    if kind == "layer":
        return nn.GroupNorm(1, width) if images else nn.LayerNorm(width)
    return nn.RMSNorm(width) if kind == "rms" else nn.Identity()


def chain(
    inputs: int, classes: int, *, depth: int, width: int, activation: str, norm: str, images: bool
) -> nn.Sequential:
    """``depth`` times weight, normaliser, activation, and a readout; 3×3 convolutions on images."""
    layers: list[nn.Module] = []
    for index in range(depth):
        size = (1 if images else inputs) if index == 0 else width
        weight = nn.Conv2d(size, width, 3, padding=1) if images else nn.Linear(size, width)
        layers.append(weight)
        if norm != "none":
            layers.append(normaliser(norm, width, images=images))
        layers.append(ACTIVATIONS[activation]())
    if images:
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(width, classes))


class Block(nn.Module):
    """x + W₂ φ(W₁ norm(x))."""

    def __init__(self, width: int, activation: str, norm: str) -> None:
        super().__init__()
        self.norm = normaliser(norm, width)
        self.first: nn.Linear | nn.Conv2d = nn.Linear(width, width)
        self.last: nn.Linear | nn.Conv2d = nn.Linear(width, width)
        self.activation = ACTIVATIONS[activation]()

    def forward(self, x: Tensor) -> Tensor:
        """The sum."""
        return x + self.last(self.activation(self.first(self.norm(x))))


class GatedBlock(Block):
    """x + W₂ (φ(W_g norm(x)) ∘ W₁ norm(x))."""

    def __init__(self, width: int, activation: str, norm: str) -> None:
        super().__init__(width, activation, norm)
        self.gate = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """The sum."""
        h = self.norm(x)
        return x + self.last(self.activation(self.gate(h)) * self.first(h))


class ConvolutionalBlock(Block):
    """x + K₂ φ(K₁ norm(x)) with 3×3 kernels."""

    def __init__(self, width: int, activation: str, norm: str) -> None:
        nn.Module.__init__(self)
        self.norm = normaliser(norm, width, images=True)
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.last = nn.Conv2d(width, width, 3, padding=1)
        self.activation = ACTIVATIONS[activation]()


def residual(
    inputs: int, classes: int, *, depth: int, width: int, activation: str, norm: str, kind: str = "residual"
) -> nn.Sequential:
    """A stem, ``depth`` blocks of a kind, a normaliser where the blocks have one, and a readout."""
    made = {"residual": Block, "gated": GatedBlock, "residual convolutional": ConvolutionalBlock}[kind]
    images = made is ConvolutionalBlock
    # blocks are drawn before the stem: stored outcomes are of these draws
    blocks = [made(width, activation, norm) for _ in range(depth)]
    stem = nn.Conv2d(1, width, 3, padding=1) if images else nn.Linear(inputs, width)
    pooled = [nn.AdaptiveAvgPool2d(1), nn.Flatten()] if images else []
    return nn.Sequential(
        stem, *blocks, normaliser(norm, width, images=images), *pooled, nn.Linear(width, classes)
    )


class Mixer(nn.Module):
    """A transformer block of two heads; ``norm`` is ``"pre"``, ``"post"`` or ``"none"``."""

    def __init__(self, width: int, activation: str, norm: str) -> None:
        super().__init__()
        self.norm, self.heads = norm, 2
        self.norm1 = nn.LayerNorm(width) if norm != "none" else nn.Identity()
        self.norm2 = nn.LayerNorm(width) if norm != "none" else nn.Identity()
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.activation = ACTIVATIONS[activation]()

    def attend(self, x: Tensor) -> Tensor:
        """Self-attention over the tokens of each sample."""
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(-2, -3)
            for layer in (self.query, self.key, self.value)
        )
        mixed = functional.scaled_dot_product_attention(q, k, v)
        return self.out(mixed.transpose(-2, -3).flatten(-2))

    def forward(self, x: Tensor) -> Tensor:
        """Attention, then the two layers of each token."""
        if self.norm == "post":
            x = self.norm1(x + self.attend(x))
            return self.norm2(x + self.down(self.activation(self.up(x))))
        x = x + self.attend(self.norm1(x))
        return x + self.down(self.activation(self.up(self.norm2(x))))


class Transformer(nn.Module):
    """Rows or tokens, with learnt positions, through ``depth`` blocks; the mean over places is read out."""

    def __init__(
        self, inputs: int, classes: int, *, length: int, depth: int, width: int, activation: str, norm: str
    ) -> None:
        super().__init__()
        self.embedding = nn.Linear(inputs, width) if inputs else nn.Embedding(TOKENS, width)
        self.places = nn.Parameter(torch.randn(length, width))
        self.blocks = nn.Sequential(*[Mixer(width, activation, norm) for _ in range(depth)])
        self.norm = nn.LayerNorm(width) if norm == "pre" else nn.Identity()
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.head(self.norm(self.blocks(self.embedding(x) + self.places)).mean(-2))


class Recurrent(nn.Module):
    """Rows or tokens through one layer of torch's RNN, GRU or LSTM; the last state is read out.

    ``unrolled`` computes the same steps in Python, which ``torch.vmap`` can follow.
    """

    def __init__(self, inputs: int, classes: int, *, width: int, kind: str) -> None:
        super().__init__()
        self.kind, self.unrolled = kind, False
        self.embedding = nn.Identity() if inputs else nn.Embedding(TOKENS, 16)
        made = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[kind]
        self.cell = made(inputs or 16, width, batch_first=True)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = self.embedding(x)
        return self.head(self._steps(x) if self.unrolled else self.cell(x)[0][:, -1])

    def _steps(self, x: Tensor) -> Tensor:
        r = self.cell
        given = functional.linear(x, r.weight_ih_l0, r.bias_ih_l0).unbind(-2)
        h = given[0].new_zeros(*given[0].shape[:-1], r.hidden_size)
        c = h
        for z in given:
            recurrent = functional.linear(h, r.weight_hh_l0, r.bias_hh_l0)
            if self.kind == "rnn":
                h = torch.tanh(z + recurrent)
            elif self.kind == "gru":
                (zr, zu, zn), (hr, hu, hn) = z.chunk(3, -1), recurrent.chunk(3, -1)
                reset, update = torch.sigmoid(zr + hr), torch.sigmoid(zu + hu)
                h = update * h + (1 - update) * torch.tanh(zn + reset * hn)
            else:
                i, f, g, o = (z + recurrent).chunk(4, -1)
                c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
                h = torch.sigmoid(o) * torch.tanh(c)
        return h
