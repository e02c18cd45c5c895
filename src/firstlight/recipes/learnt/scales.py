"""Learnt scales: GradInit, and MetaInit's gradient quotient."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from firstlight.recipes.learnt._copying import Course, gradients
from firstlight.recipes.recipe import Draft, Need, Recipe


@dataclass(frozen=True)
class GradInit(Recipe):
    r"""One factor for each weight, learnt so that one step of the optimiser lowers the loss most.

    .. math:: \min_m L\big(θ_m - η\,A[g_{θ_m}]\big) \quad \text{with } \|g_{θ_m}\|_p \le γ, \qquad θ_m = m_i θ_i

    A is the sign for Adam (p = 1) and the identity for SGD (p = 2). Where the gradient is larger than γ, its norm is
    lowered instead.

    Attributes
    ----------
    optimiser
        ``"sgd"`` or ``"adam"``.
    rate
        η of the step that is looked ahead.
    bound
        γ.
    steps
        Steps of Adam on the factors.
    speed
        Adam's learning rate on the factors.
    """

    optimiser: Literal["sgd", "adam"] = "sgd"
    rate: float = 0.1
    bound: float = 1.0
    steps: int = 60
    speed: float = 0.05
    word: ClassVar[str] = "gradinit"
    purpose: ClassVar[str] = "any model with a loss: scales learnt on the data, as the learnt baseline"
    needs: ClassVar[tuple[Need, ...]] = ("batch", "loss")
    changes: ClassVar[tuple[str, ...]] = ("weights",)
    source: ClassVar[str] = "Zhu et al., GradInit, NeurIPS 2021"

    def draft(self, draft: Draft) -> None:
        """Every weight, times its factor."""
        course = Course(draft)
        names = list(course.slots)
        scales = {name: torch.ones((), requires_grad=True) for name in names}
        adam = torch.optim.Adam(list(scales.values()), self.speed)
        power = 1 if self.optimiser == "adam" else 2
        with torch.random.fork_rng(devices=[]):
            for _ in range(self.steps):
                current = {
                    n: p * scales[n] if n in scales else p.requires_grad_() for n, p in course.start.items()
                }
                held = list(current.values())
                found = gradients(course.loss(current), held, graph=True)
                norm = torch.stack([g.abs().pow(power).sum() for g in found]).sum().pow(1 / power)
                target = norm
                if float(norm.detach()) <= self.bound:
                    moves = [g.sign() if power == 1 else g for g in found]
                    after = {n: p - self.rate * m for (n, p), m in zip(current.items(), moves, strict=True)}
                    target = course.loss(after)
                if not bool(torch.isfinite(target)):
                    break
                adam.zero_grad()
                for scale, gradient in zip(
                    scales.values(), gradients(target, list(scales.values()), graph=False), strict=True
                ):
                    scale.grad = gradient
                adam.step()
                with torch.no_grad():
                    for scale in scales.values():
                        scale.clamp_(min=0.01)
        course.finish({name: float(scale.detach()) for name, scale in scales.items()}, "learnt by GradInit")


@dataclass(frozen=True)
class MetaInit(Recipe):
    r"""Norms of the weights moved so that gradients change least over one step: the gradient quotient is lowered.

    .. math:: \mathrm{GQ} = \frac1N \Big\| \frac{H g}{g + ε} \Big\|_1

    Attributes
    ----------
    steps, rate, momentum
        Steps on the norms by the sign of the gradient, their size relative to the norm at the start, and the momentum.
    """

    steps: int = 40
    rate: float = 0.03
    momentum: float = 0.9
    word: ClassVar[str] = "metainit"
    purpose: ClassVar[str] = "any smooth model with a loss: starts where curvature matters least"
    needs: ClassVar[tuple[Need, ...]] = ("batch", "loss")
    changes: ClassVar[tuple[str, ...]] = ("weights",)
    source: ClassVar[str] = "Dauphin & Schoenholz, MetaInit, NeurIPS 2019"

    def draft(self, draft: Draft) -> None:
        """Every weight, times its factor; of the points on the way the one with the least quotient is kept."""
        course = Course(draft)
        names = list(course.slots)
        factors = dict.fromkeys(names, 1.0)
        speed = dict.fromkeys(names, 0.0)
        best, kept = math.inf, dict(factors)
        with torch.random.fork_rng(devices=[]):
            for _ in range(self.steps):
                scaled = {n: p * factors.get(n, 1.0) for n, p in course.start.items()}
                current = {n: p.detach().requires_grad_() for n, p in scaled.items()}
                quotient = gradient_quotient(course, current)
                value = float(quotient.detach())
                if not math.isfinite(value):
                    break
                if value < best:
                    best, kept = value, dict(factors)
                moved = gradients(quotient, [current[n] for n in names], graph=False)
                for name, gradient in zip(names, moved, strict=True):
                    along = float((gradient * current[name].detach()).sum())
                    sign = math.copysign(1.0, along) if along != 0 else 0.0
                    speed[name] = self.momentum * speed[name] - self.rate * (1 - self.momentum) * sign
                    factors[name] = max(factors[name] + speed[name], 0.01)
        course.finish(kept, f"learnt by MetaInit (gradient quotient {best:.4g})")


def gradient_quotient(course: Course, parameters: dict[str, Tensor], epsilon: float = 1e-5) -> Tensor:
    """GQ of a loss at these parameters, differentiable."""
    held = list(parameters.values())
    found = gradients(course.loss(parameters), held, graph=True)
    inner = torch.stack([(g * g.detach()).sum() for g in found]).sum()
    curved = gradients(inner, held, graph=True)
    total = torch.stack(
        [
            (h / (g + epsilon * torch.where(g >= 0, 1.0, -1.0))).abs().sum()
            for h, g in zip(curved, (g.detach() for g in found), strict=True)
        ]
    ).sum()
    return total / sum(p.numel() for p in held)
