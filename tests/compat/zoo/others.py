"""x-transformers, an implicit representation, and the recurrent and attention modules of torch itself."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from zoo.case import Case, images, seeded, series, tokens


def _decoder() -> nn.Module:
    from x_transformers import Decoder, TransformerWrapper

    layers = Decoder(dim=64, depth=3, heads=4, rotary_pos_emb=True, ff_glu=True, use_rmsnorm=True)
    return TransformerWrapper(num_tokens=101, max_seq_len=32, attn_layers=layers)


def _encoder() -> nn.Module:
    from x_transformers import Encoder, TransformerWrapper

    return TransformerWrapper(num_tokens=101, max_seq_len=32, attn_layers=Encoder(dim=64, depth=3, heads=4))


def _continuous() -> nn.Module:
    from x_transformers import ContinuousTransformerWrapper, Encoder

    layers = Encoder(dim=64, depth=2, heads=4)
    return ContinuousTransformerWrapper(dim_in=8, dim_out=5, max_seq_len=32, attn_layers=layers)


def _vit() -> nn.Module:
    from x_transformers import Encoder, ViTransformerWrapper

    layers = Encoder(dim=64, depth=2, heads=4)
    return ViTransformerWrapper(image_size=32, patch_size=8, num_classes=10, attn_layers=layers)


class Sine(nn.Module):
    """A linear layer and a sine, scaled as Sitzmann et al. (NeurIPS 2020) do."""

    def __init__(self, inputs: int, outputs: int, *, frequency: float = 30.0, first: bool = False) -> None:
        super().__init__()
        self.frequency, self.linear = frequency, nn.Linear(inputs, outputs)
        bound = 1 / inputs if first else math.sqrt(6 / inputs) / frequency
        nn.init.uniform_(self.linear.weight, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(self.frequency * self.linear(x))


def _siren() -> nn.Module:
    hidden = [Sine(64, 64) for _ in range(3)]
    return nn.Sequential(Sine(2, 64, first=True), *hidden, nn.Linear(64, 3))


def _coordinates() -> Tensor:
    return torch.rand(256, 2, generator=seeded()) * 2 - 1


class Recurrent(nn.Module):
    """A recurrent layer of torch and a linear readout of its last state."""

    def __init__(self, kind: type[nn.RNNBase], **settings: Any) -> None:
        super().__init__()
        self.recurrent = kind(8, 32, batch_first=True, **settings)
        self.head = nn.Linear(32 * (2 if settings.get("bidirectional") else 1), 5)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.recurrent(x)
        return self.head(states[:, -1])


class Unrolled(nn.Module):
    """An LSTM cell called once per step by hand: one module, many calls."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.LSTMCell(8, 32), nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        state = None
        for step in x.unbind(1):
            state = self.cell(step, state)
        return self.head(state[0])


class Attention(nn.Module):
    """Multi-head attention with a residual, then a linear readout."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.head = nn.Linear(8, 32), nn.Linear(32, 5)
        self.attention = nn.MultiheadAttention(32, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        h = self.enter(x)
        return self.head((h + self.attention(h, h, h)[0]).mean(1))


class EncoderClassifier(nn.Module):
    """torch's TransformerEncoder between an embedding and a readout."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, norm_first=True)
        self.embed, self.head = nn.Embedding(101, 32), nn.Linear(32, 5)
        self.encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.encoder(self.embed(ids)).mean(1))


def _translation() -> tuple[Tensor, Tensor]:
    return series(10, 32), series(6, 32)


OTHERS: tuple[Case, ...] = (
    Case("Decoder (rotary, GLU, RMSNorm)", "x-transformers", _decoder, lambda: tokens(101)),
    Case("Encoder", "x-transformers", _encoder, lambda: tokens(101)),
    Case("Continuous encoder", "x-transformers", _continuous, series),
    Case("ViT", "x-transformers", _vit, images),
    Case("SIREN", "by hand", _siren, _coordinates),
    Case("LSTM", "torch", lambda: Recurrent(nn.LSTM, num_layers=2), series),
    Case("GRU (both directions)", "torch", lambda: Recurrent(nn.GRU, bidirectional=True), series),
    Case("RNN", "torch", lambda: Recurrent(nn.RNN), series),
    Case("LSTM cell, unrolled", "torch", Unrolled, series),
    Case("MultiheadAttention", "torch", Attention, series),
    Case("TransformerEncoder", "torch", EncoderClassifier, lambda: tokens(101)),
    Case(
        "Transformer",
        "torch",
        lambda: nn.Transformer(32, 4, 2, 2, 64, batch_first=True),
        _translation,
    ),
)
