"""Further architectures, drawn at random (seed 7) from the names of the zoo's libraries, and made small."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from zoo.case import Case, images, seeded, tokens
from zoo.sciences import _made
from zoo.timm_images import _build

_NODES, _EDGES, _WIDE = 32, 120, 32


class _Convolutions(nn.Module):
    """Two graph convolutions that take more than nodes and edges, and a readout."""

    def __init__(self, first: nn.Module, second: nn.Module, width: int) -> None:
        super().__init__()
        self.first, self.second, self.readout = first, second, nn.Linear(width, 4)

    def forward(self, x: Tensor, *about: Tensor) -> Tensor:
        hidden = torch.relu(self.first(x, *about))
        return self.readout(torch.relu(self.second(hidden, *about)))


def _graph(*about: str) -> tuple[Tensor, ...]:
    known = {
        "edges": torch.randint(0, _NODES, (2, _EDGES), generator=seeded(1)),
        "features": torch.randn(_EDGES, 4, generator=seeded(2)),
        "kinds": torch.randint(0, 3, (_EDGES,), generator=seeded(3)),
    }
    x = torch.randn(_NODES, 16, generator=seeded())
    return (x, known["edges"], *(known[name] for name in about))


def _perceptron(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, _WIDE), nn.ReLU(), nn.Linear(_WIDE, outputs))


def _layer(name: str, *args: Any, **settings: Any) -> nn.Module:
    return _made(f"torch_geometric.nn.{name}", *args, **settings)


def _pair(make: Callable[[int, int], nn.Module], width: int = _WIDE) -> nn.Module:
    return _Convolutions(make(16, width), make(width, width), width)


_GRAPHS: dict[str, tuple[Callable[[], nn.Module], tuple[str, ...]]] = {
    "AntiSymmetricConv": (lambda: _pair(lambda a, b: _layer("AntiSymmetricConv", b, num_iters=3), 16), ()),
    "CGConv": (lambda: _pair(lambda a, b: _layer("CGConv", b, 4), 16), ("features",)),
    "DirGNNConv": (lambda: _pair(lambda a, b: _layer("DirGNNConv", _layer("SAGEConv", a, b))), ()),
    "EdgeConv": (lambda: _pair(lambda a, b: _layer("EdgeConv", _perceptron(2 * a, b))), ()),
    "GINEConv": (
        lambda: _pair(lambda a, b: _layer("GINEConv", _perceptron(a, b), edge_dim=4)),
        ("features",),
    ),
    "NNConv": (lambda: _pair(lambda a, b: _layer("NNConv", a, b, _perceptron(4, a * b))), ("features",)),
    "RGCNConv": (lambda: _pair(lambda a, b: _layer("RGCNConv", a, b, 3)), ("kinds",)),
    "FastRGCNConv": (lambda: _pair(lambda a, b: _layer("FastRGCNConv", a, b, 3, num_bases=2)), ("kinds",)),
    "GPSConv": (lambda: _pair(lambda a, b: _layer("GPSConv", b, _layer("GCNConv", b, b), heads=2), 16), ()),
    "GCN, layers read by an LSTM": (lambda: _layer("GCN", 16, _WIDE, 3, 4, jk="lstm"), ()),
    "GATv2, layers side by side": (
        lambda: _layer("GAT", 16, _WIDE, 3, 4, v2=True, heads=2, jk="cat", norm="layer"),
        (),
    ),
}

_PLANE = {"spatial_dims": 2, "in_channels": 1, "out_channels": 2}
_SMALL_CODES = {
    "spatial_dims": 2,
    "in_channels": 1,
    "out_channels": 1,
    "channels": (8, 16),
    "norm_num_groups": 4,
}
_MONAI: dict[str, tuple[dict[str, Any], Callable[[], Any]]] = {
    "BasicUNetPlusPlus": ({**_PLANE, "features": (8, 8, 16, 16, 32, 8)}, lambda: images(32, 1, 2)),
    "AutoencoderKL": (
        {**_SMALL_CODES, "num_res_blocks": 1, "attention_levels": (False, True), "latent_channels": 4},
        lambda: images(32, 1, 2),
    ),
    "DiffusionModelUNet": (
        {**_SMALL_CODES, "num_res_blocks": 1, "attention_levels": (False, True), "num_head_channels": 8},
        lambda: (images(32, 1, 2), torch.tensor([3, 7])),
    ),
    "DecoderOnlyTransformer": (
        {
            "num_tokens": 50, "max_seq_len": 16, "attn_layers_dim": 32, "attn_layers_depth": 2,
            "attn_layers_heads": 4,
        },
        lambda: tokens(50),
    ),
    "FullyConnectedNet": (
        {"in_channels": 16, "out_channels": 4, "hidden_channels": (32, 32)},
        lambda: torch.randn(16, 16, generator=seeded()),
    ),
}  # fmt: skip

_TIMM = "regnetz_005 tf_mobilenetv3_small_minimal_100 repvit_m0_9 mobilenetv4_hybrid_medium_075".split()
_TOKENS: dict[str, dict[str, Any]] = {
    "Glm": {"num_key_value_heads": 2, "head_dim": 16, "pad_token_id": 0},
    "FlexOlmo": {"num_key_value_heads": 2, "num_experts": 4, "num_experts_per_tok": 2, "pad_token_id": 0},
    "Data2VecText": {},
}
_SIZES = {
    "vocab_size": 101, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 128, "max_position_embeddings": 64,
}  # fmt: skip
# options of x-transformers' decoder
_OPTIONS: tuple[dict[str, Any], ...] = (
    {"macaron": True},
    {"use_dynamic_tanh": True},
    {"sandwich_norm": True},
    {"gate_residual": True},
    {"attn_pre_talking_heads": True},
    {"shift_tokens": 1},
    {"use_scalenorm": True},
    {"attn_qk_norm": True},
)


def _transformer(name: str, settings: dict[str, Any]) -> nn.Module:
    import transformers

    return getattr(transformers, f"{name}Model")(getattr(transformers, f"{name}Config")(**_SIZES, **settings))


def _decoder(settings: dict[str, Any]) -> nn.Module:
    from x_transformers import Decoder, TransformerWrapper

    layers = Decoder(dim=64, depth=2, heads=4, **settings)
    return TransformerWrapper(num_tokens=101, max_seq_len=32, attn_layers=layers)


DRAWN: tuple[Case, ...] = (
    *(
        Case(name, "torch-geometric", make, lambda about=about: _graph(*about))
        for name, (make, about) in _GRAPHS.items()
    ),
    *(
        Case(name, "monai", lambda name=name, s=settings: _made(f"monai.networks.nets.{name}", **s), batch)
        for name, (settings, batch) in _MONAI.items()
    ),
    *(
        Case(name, "timm", lambda name=name: _build(name, {}), lambda: images(64, samples=2))
        for name in _TIMM
    ),
    *(
        Case(
            name,
            "transformers",
            lambda name=name, s=s: _transformer(name, s),
            lambda: {"input_ids": tokens(101)},
        )
        for name, s in _TOKENS.items()
    ),
    *(
        Case(f"Decoder ({next(iter(s))})", "x-transformers", lambda s=s: _decoder(s), lambda: tokens(101))
        for s in _OPTIONS
    ),
)
