"""Networks of the sciences: graphs, flows, differential equations, spikes, medical images, agents, state spaces."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from zoo.case import SAMPLES, Case, images, seeded, series


def _made(path: str, *args: Any, **settings: Any) -> Any:
    module, name = path.rsplit(".", 1)
    return getattr(importlib.import_module(module), name)(*args, **settings)


def _vectors(features: int = 6, samples: int = 32) -> torch.Tensor:
    return torch.randn(samples, features, generator=seeded())


class _Graph(nn.Module):
    """Two graph convolutions and a readout."""

    def __init__(self, name: str, settings: dict[str, Any], width: int = 32) -> None:
        super().__init__()
        path, wide = f"torch_geometric.nn.{name}", width * settings.get("heads", 1)
        self.first, self.second = _made(path, 16, width, **settings), _made(path, wide, width, **settings)
        self.readout = nn.Linear(wide, 4)

    def forward(self, x: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
        hidden = torch.relu(self.first(x, edge_index))
        return self.readout(torch.relu(self.second(hidden, edge_index)))


def _graph() -> dict[str, Any]:
    edges = torch.randint(0, 32, (2, 120), generator=seeded(1))
    return {"x": _vectors(16), "edge_index": edges}


_PLAIN = """GCNConv SAGEConv GraphConv TAGConv ARMAConv SGConv ClusterGCNConv GENConv LEConv MFConv FeaStConv
    GeneralConv ResGatedGraphConv FiLMConv""".split()
_CONVOLUTIONS: dict[str, dict[str, Any]] = {
    **{name: {} for name in _PLAIN},
    **{name: {"heads": 2} for name in ("GATConv", "GATv2Conv", "TransformerConv", "SuperGATConv")},
    "ChebConv": {"K": 3},
    "SSGConv": {"alpha": 0.1},
    "EGConv": {"num_heads": 4},
}
_DEGREES = {
    "aggregators": ["mean", "max", "std"],
    "scalers": ["identity", "amplification"],
    "deg": torch.tensor([0, 4, 8, 10, 6, 4]),
}


def _convolution(name: str, settings: dict[str, Any]) -> Case:
    return Case(name, "torch-geometric", lambda: _Graph(name, settings), _graph)


def _whole_graph(name: str, **more: Any) -> Case:
    settings = {"in_channels": 16, "hidden_channels": 32, "num_layers": 3, "out_channels": 4, **more}
    return Case(name, "torch-geometric", lambda: _made(f"torch_geometric.nn.{name}", **settings), _graph)


class _Spikes(nn.Module):
    """Two layers of spiking neurons over four steps of time."""

    def __init__(self, kind: str, **settings: float) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(16, 32), nn.Linear(32, 4)
        self.neurons = nn.ModuleList([_made(f"snntorch.{kind}", **settings) for _ in range(2)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        states = [
            state if isinstance(state, tuple) else (state,) for state in (n.reset_mem() for n in self.neurons)
        ]
        membranes = []
        for _ in range(4):
            spikes, *states[0] = self.neurons[0](self.first(x), *states[0])
            _, *states[1] = self.neurons[1](self.second(spikes), *states[1])
            membranes.append(states[1][-1])
        return torch.stack(membranes).sum(0)


class _Equation(nn.Module):
    """A layer, a neural differential equation, and a readout."""

    def __init__(self, method: str, adjoint: bool = False) -> None:
        super().__init__()
        self.enter, self.leave = nn.Linear(8, 16), nn.Linear(16, 4)
        self.field = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 16))
        self.method, self.adjoint = method, adjoint

    def _slope(self, t: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        return self.field(h)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        import torchdiffeq

        times, start = torch.linspace(0, 1, 4), self.enter(x)
        if self.adjoint:
            parameters = tuple(self.field.parameters())
            found = torchdiffeq.odeint_adjoint(
                self._slope, start, times, method=self.method, adjoint_params=parameters
            )
        else:
            found = torchdiffeq.odeint(self._slope, start, times, method=self.method)
        return self.leave(found[-1])


class _Density(nn.Module):
    """A normalising flow as the function that training differentiates."""

    def __init__(self, flow: nn.Module, *, samples: bool = False) -> None:
        super().__init__()
        self.flow, self.samples = flow, samples

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.flow.forward_and_log_det(x)[0] if self.samples else self.flow.log_prob(x)


def _nflows(step: Callable[[], Any], count: int) -> nn.Module:
    swap = "nflows.transforms.permutations.ReversePermutation"
    steps = [part for _ in range(count) for part in (step(), _made(swap, 6))]
    return _Density(
        _made(
            "nflows.flows.base.Flow",
            _made("nflows.transforms.base.CompositeTransform", steps),
            _made("nflows.distributions.normal.StandardNormal", [6]),
        )
    )


def _normflows(kind: str) -> nn.Module:
    import normflows as nf

    def coupling() -> nn.Module:
        return nf.flows.AffineCouplingBlock(nf.nets.MLP([3, 32, 6], init_zeros=False))

    steps: dict[str, Callable[[], list[nn.Module]]] = {
        "affine coupling": lambda: [coupling(), nf.flows.Permute(6, mode="swap")],
        "planar": lambda: [nf.flows.Planar((6,))],
        "radial": lambda: [nf.flows.Radial((6,))],
        "actnorm": lambda: [coupling(), nf.flows.ActNorm(6)],
        "autoregressive spline": lambda: [nf.flows.AutoregressiveRationalQuadraticSpline(6, 1, 16)],
        "masked affine": lambda: [nf.flows.MaskedAffineAutoregressive(6, 32)],
    }
    flows = [flow for _ in range(4) for flow in steps[kind]()]
    whole = nf.NormalizingFlow(nf.distributions.DiagGaussian(6), flows)
    return _Density(whole, samples=kind in ("planar", "radial"))


_MASKED = "nflows.transforms.autoregressive.Masked"
_FLOWS = (
    Case(
        "MAF",
        "nflows",
        lambda: _nflows(lambda: _made(f"{_MASKED}AffineAutoregressiveTransform", 6, 32), 3),
        _vectors,
    ),
    Case(
        "neural spline",
        "nflows",
        lambda: _nflows(
            lambda: _made(
                f"{_MASKED}PiecewiseRationalQuadraticAutoregressiveTransform",
                6,
                32,
                tails="linear",
                tail_bound=3.0,
            ),
            2,
        ),
        _vectors,
    ),
    Case(
        "RealNVP",
        "nflows",
        lambda: _Density(_made("nflows.flows.realnvp.SimpleRealNVP", 6, 32, 3, 2)),
        _vectors,
    ),
    *(
        Case(kind, "normflows", lambda kind=kind: _normflows(kind), _vectors)
        for kind in (
            "affine coupling",
            "planar",
            "radial",
            "actnorm",
            "autoregressive spline",
            "masked affine",
        )
    ),
)

_PLANE = {"spatial_dims": 2, "in_channels": 1, "out_channels": 2}
_MONAI: dict[str, dict[str, Any]] = {
    "UNet": {**_PLANE, "channels": (8, 16, 32), "strides": (2, 2), "num_res_units": 1},
    "BasicUNet": {**_PLANE, "features": (8, 8, 16, 16, 32, 8)},
    "AttentionUnet": {**_PLANE, "channels": (8, 16, 32), "strides": (2, 2)},
    "SegResNet": {**_PLANE, "init_filters": 8},
    "DynUNet": {
        **_PLANE, "kernel_size": [3, 3, 3], "strides": [1, 2, 2], "upsample_kernel_size": [2, 2],
        "filters": [8, 16, 32],
    },
    "VNet": _PLANE,
    "UNETR": {**_PLANE, "img_size": 32, "hidden_size": 48, "mlp_dim": 96, "num_heads": 4, "feature_size": 8},
    "ViT": {
        "in_channels": 1, "img_size": 32, "patch_size": 8, "spatial_dims": 2, "hidden_size": 48, "mlp_dim": 96,
        "num_layers": 2, "num_heads": 4, "classification": True,
    },
    "HighResNet": _PLANE,
    "Regressor": {"in_shape": (1, 32, 32), "out_shape": (1,), "channels": (8, 16), "strides": (2, 2)},
    "AutoEncoder": {**_PLANE, "out_channels": 1, "channels": (8, 16), "strides": (2, 2)},
    "VarAutoEncoder": {
        "spatial_dims": 2, "in_shape": (1, 32, 32), "out_channels": 1, "latent_size": 4, "channels": (8, 16),
        "strides": (2, 2),
    },
    "DenseNet": {**_PLANE, "init_features": 8, "growth_rate": 4, "block_config": (2, 2)},
    "Discriminator": {"in_shape": (1, 32, 32), "channels": (8, 16), "strides": (2, 2)},
    "SwinUNETR": {**_PLANE, "feature_size": 12, "depths": (1, 1, 1, 1)},
}  # fmt: skip


def _monai(name: str, settings: dict[str, Any]) -> Case:
    size = 64 if name == "SwinUNETR" else 32
    return Case(
        name,
        "monai",
        lambda: _made(f"monai.networks.nets.{name}", **settings),
        lambda: images(size, channels=1, samples=2),
    )


class _Policy(nn.Module):
    """The networks of an agent, from an observation to actions and values."""

    def __init__(self, name: str, shape: tuple[int, ...]) -> None:
        super().__init__()
        import gymnasium
        import numpy as np

        bounds, dtype = ((0, 255), np.uint8) if len(shape) == 3 else ((-1, 1), np.float32)
        space = gymnasium.spaces.Box(*bounds, shape, dtype=dtype)
        path = f"stable_baselines3.common.policies.{name}"
        self.policy = _made(path, space, gymnasium.spaces.Discrete(4), lambda _: 1e-3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        actions, values = self.policy.mlp_extractor(self.policy.extract_features(x))
        return torch.cat([self.policy.action_net(actions), self.policy.value_net(values)], 1)


def _mamba() -> nn.Module:
    return _made("mambapy.mamba.Mamba", _made("mambapy.mamba.MambaConfig", d_model=32, n_layers=2, d_state=8))


def _pixels() -> torch.Tensor:
    return torch.randint(0, 256, (SAMPLES, 3, 36, 36), dtype=torch.uint8, generator=seeded())


SCIENCES: tuple[Case, ...] = (
    *(_convolution(name, settings) for name, settings in _CONVOLUTIONS.items()),
    *(_whole_graph(name) for name in ("GCN", "GraphSAGE", "GIN", "GAT", "EdgeCNN")),
    _whole_graph("PNA", **_DEGREES),
    Case("leaky neurons", "snntorch", lambda: _Spikes("Leaky", beta=0.9), lambda: 3 * _vectors(16, 16)),
    Case(
        "synaptic neurons",
        "snntorch",
        lambda: _Spikes("Synaptic", alpha=0.9, beta=0.8),
        lambda: 3 * _vectors(16, 16),
    ),
    *(
        Case(method, "torchdiffeq", lambda method=method: _Equation(method), lambda: _vectors(8, 16))
        for method in ("euler", "midpoint", "rk4", "dopri5")
    ),
    Case(
        "rk4 by the adjoint", "torchdiffeq", lambda: _Equation("rk4", adjoint=True), lambda: _vectors(8, 16)
    ),
    *_FLOWS,
    *(_monai(name, settings) for name, settings in _MONAI.items()),
    Case("Mamba", "mambapy", _mamba, lambda: series(features=32)),
    Case("policy", "stable-baselines3", lambda: _Policy("ActorCriticPolicy", (8,)), lambda: _vectors(8, 16)),
    Case(
        "policy on pixels", "stable-baselines3", lambda: _Policy("ActorCriticCnnPolicy", (3, 36, 36)), _pixels
    ),
)
