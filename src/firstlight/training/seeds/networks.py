"""The networks of a plan: drawn by each seed, and all of them as one function of one matrix of parameters."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from firstlight import weights
from firstlight.builders import activation_module, mlp
from firstlight.errors import DomainError
from firstlight.pairs import by_name, is_pair_name
from firstlight.recipes import initialise_
from firstlight.training.seeds.plan import TrainingPlan


def draw_network(
    plan: TrainingPlan,
    *,
    shape: Sequence[int],
    classes: int,
    seed: int,
    batch: tuple[Tensor, Tensor] | None = None,
) -> nn.Sequential:
    """The network that a seed starts with.

    Parameters
    ----------
    plan
        Which network.
    shape
        Shape of one sample: ``(features,)`` for an MLP, ``(channels, 32, 32)`` for a LeNet.
    classes
        Outputs.
    seed
        Of weights and biases.
    batch
        Samples and classes, for recipes that look at data.

    Examples
    --------
    >>> from firstlight.training import TrainingPlan
    >>> from firstlight.training.seeds.networks import draw_network
    >>> model = draw_network(TrainingPlan(depth=2, width=8), shape=(64,), classes=10, seed=0)
    >>> [type(layer).__name__ for layer in model]
    ['Flatten', 'Linear', 'Tanh', 'Linear', 'Tanh', 'Linear']
    """
    phi = activation_of(plan)
    if plan.model == "lenet":
        model = _lenet(shape[0], classes, phi)
    else:
        model = mlp(shape[0], classes, depth=plan.depth, width=plan.width, activation=phi)
    generator = torch.Generator().manual_seed(seed)
    if plan.recipe is not None:
        x, y = (None, None) if batch is None else batch
        initialise_(
            model, plan.recipe, x, targets=y, loss="cross-entropy" if y is not None else None, generator=generator,
            force=True,
        )  # fmt: skip
        return model
    law = weights.get(plan.first_layer)
    assert plan.sigma_w is not None, "a plan has its scales"
    assert plan.sigma_b is not None, "a plan has its scales"
    with torch.no_grad():
        for layer in model:
            if isinstance(layer, nn.Linear | nn.Conv2d):
                w, b = layer.weight, layer.bias
                assert b is not None, "every layer has a bias"
                w.copy_(law.sample(w.shape, generator=generator, fan_in=w[0].numel(), sigma_w=plan.sigma_w))
                b.normal_(generator=generator).mul_(plan.sigma_b)
                law = weights.get(plan.weights)
    return model


def activation_of(plan: TrainingPlan) -> nn.Module:
    """The activation of a plan as a module.

    Raises
    ------
    DomainError
        No such name.
    BuildError
        A native activation without a C++ compiler.
    """
    if is_pair_name(plan.activation):
        pair = by_name(plan.activation)
        return (pair.native() if plan.native else pair).activation
    return activation_module(plan.activation)


def _lenet(channels: int, classes: int, phi: nn.Module) -> nn.Sequential:
    with torch.random.fork_rng(
        devices=[]
    ):  # torch's own draws, soon overwritten, leave the global generator alone
        return nn.Sequential(
            nn.Conv2d(channels, 6, 5), phi, nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), phi, nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(400, 120), phi, nn.Linear(120, 84), phi, nn.Linear(84, classes),
        )  # fmt: skip


class Stack:
    """Several networks of one architecture as one function of one matrix, a row of parameters for each network.

    Dense layers of all networks are one batched product, in which the samples lie along the last axis: the layout
    that is fastest for narrow layers. Convolutions run network by network, which is faster than in groups.

    Parameters
    ----------
    models
        Networks of one architecture: sequences of convolutions, pools, a flatten, dense layers and activations.

    Raises
    ------
    DomainError
        A layer that a stack cannot run.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from firstlight.training.seeds.networks import Stack
    >>> models = [nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)) for _ in range(5)]
    >>> stack, x = Stack(models), torch.randn(5, 7, 4)
    >>> torch.allclose(stack(stack.parts(stack.start), x)[1].T, models[1](x[1]), atol=1e-6)
    True
    """

    def __init__(self, models: Sequence[nn.Sequential]) -> None:
        layers = list(models[0])
        at = next((i for i, layer in enumerate(layers) if isinstance(layer, nn.Flatten)), None)
        if at is None:
            raise DomainError(
                "while stacking networks: expected a flatten before the dense layers, got none; add one"
            )
        other = [
            x
            for x in layers
            if not isinstance(x, nn.Linear | nn.Conv2d) and any(True for _ in x.parameters())
        ]
        if other:
            raise DomainError(
                "while stacking networks: expected parameters in dense layers and convolutions alone, got "
                f"{type(other[0]).__name__}; choose an activation without parameters"
            )
        self.front, self.back = layers[:at], layers[at + 1 :]
        shapes = [tuple(p.shape) for p in models[0].parameters()]
        self.shapes = shapes
        self.sizes = [torch.Size(shape).numel() for shape in shapes]
        self.start = torch.stack([torch.cat([p.detach().flatten() for p in m.parameters()]) for m in models])

    def parts(self, parameters: Float[Tensor, "networks total"]) -> list[Tensor]:
        """The matrix as views, one for each parameter: ``(networks, *shape)``."""
        split = parameters.split(self.sizes, dim=1)
        return [part.view(len(parameters), *shape) for part, shape in zip(split, self.shapes, strict=True)]

    def __call__(
        self, parts: Sequence[Tensor], x: Float[Tensor, "networks samples *shape"]
    ) -> Float[Tensor, "networks classes samples"]:
        """The outputs of every network on its own samples."""
        parts = list(parts)
        if self.front:
            count = 2 * sum(isinstance(layer, nn.Conv2d) for layer in self.front)
            x = torch.stack([self._convolved(x[i], [p[i] for p in parts[:count]]) for i in range(len(x))])
            parts = parts[count:]
        return self._dense(x.flatten(2).transpose(1, 2), parts)

    def _convolved(self, x: Tensor, parts: list[Tensor]) -> Tensor:
        """The part of one network before its dense layers."""
        at = iter(parts)
        for layer in self.front:
            if isinstance(layer, nn.Conv2d):
                x = functional.conv2d(x, next(at), next(at), layer.stride, layer.padding)
            else:
                x = layer(x)
        return x

    def _dense(self, x: Tensor, parts: list[Tensor]) -> Tensor:
        """The dense layers of all networks, features before samples."""
        at = iter(parts)
        for layer in self.back:
            if isinstance(layer, nn.Linear):
                weight, bias = next(at), next(at)
                x = torch.baddbmm(bias.unsqueeze(2), weight, x)
            else:
                x = layer(x)
        return x
