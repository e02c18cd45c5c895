"""Transformers: depth-scaled projections, T-Fixup, DeepNorm, and constants for queries, keys, values and outputs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from firstlight.recipes.draws import normal
from firstlight.recipes.layout.blueprint import Branch
from firstlight.recipes.layout.slots import Slot
from firstlight.recipes.recipe import Draft, Need, Recipe
from firstlight.recipes.residual.branches import require_branches


def attention_parts(slot: Slot, sheet_slots: tuple[Slot, ...]) -> tuple[str, ...]:
    """Which of queries, keys, values a weight makes, block by block; ("u",) for the output of attention, else ().

    A stacked weight is taken as queries, keys, values in this order; three weights that read one thing and feed one
    attention, one after another, in the same order.
    """
    if slot.kind == "attention" or slot.feeds == "attention":
        if slot.blocks == 3:
            return ("q", "k", "v")
        alike = [s for s in sheet_slots if s.feeds == "attention" and s.branch == slot.branch and s.row >= 0]
        place = [s.name for s in alike].index(slot.name) if slot in alike else -1
        return ("qkv"[place],) if len(alike) == 3 and place >= 0 else ()
    return ("u",) if slot.reads == "attention" else ()


@dataclass(frozen=True)
class DepthScaled(Recipe):
    r"""GPT-2's start: N(0, std²) everywhere, and the last weight of each of L branches times 1/√L.

    Attributes
    ----------
    std
        Standard deviation of all weights and tables, .02 in the paper.
    """

    std: float = 0.02
    word: ClassVar[str] = "depth-scaled"
    purpose: ClassVar[str] = "decoder transformers with normalisers in front of the branches"
    needs: ClassVar[tuple[Need, ...]] = ("graph", "batch")
    source: ClassVar[str] = "Radford et al., Language Models are Unsupervised Multitask Learners, 2019"

    def draft(self, draft: Draft) -> None:
        """Every weight and table; biases are zero."""
        count = len(require_branches(draft))
        for slot in draft.blueprint.slots:
            std, said = self.std, f"N(0, {self.std:g}²)"
            if slot.ends_branch:
                std, said = (
                    std / math.sqrt(count),
                    f"N(0, {self.std:g}²/{count}): ends one of {count} branches",
                )
            draft.put(slot, normal(slot.weight.shape, draft.generator, slot.weight.dtype) * std, said)
            draft.shift(slot, 0.0)


@dataclass(frozen=True)
class TFixup(Recipe):
    r"""Transformers without warm-up: Glorot's weights, with tables, values, outputs and MLPs times .67 N^{−1/4}.

    N is the number of blocks. Queries and keys keep Glorot's scale; tables begin as N(0, 1/width) times (9N)^{−1/4}. A
    decoder-only model takes (9N)^{−1/4} in place of .67 N^{−1/4} too. The paper takes the normalisers out; the recipe
    writes weights alone.

    Attributes
    ----------
    decoder
        Whether the factor is that of decoders.
    """

    decoder: bool = False
    word: ClassVar[str] = "t-fixup"
    purpose: ClassVar[str] = "transformers without warm-up and without normalisers"
    needs: ClassVar[tuple[Need, ...]] = ("graph", "batch")
    source: ClassVar[str] = "Huang et al., ICML 2020, and the factors of its published code"

    def draft(self, draft: Draft) -> None:
        """Every weight and table."""
        blocks = max(len(require_branches(draft)) / 2, 1.0)
        table = (9 * blocks) ** -0.25
        factor = table if self.decoder else 0.67 * blocks**-0.25
        for slot in draft.blueprint.slots:
            if slot.kind == "embedding":
                value = normal(slot.weight.shape, draft.generator) * (table / math.sqrt(slot.fan_out))
                draft.put(slot, value, f"N(0, 1/width) times {table:.4g}")
                continue
            put_by_part(draft, slot, {"q": 1.0, "k": 1.0}, factor if slot.branch >= 0 else 1.0, "Glorot")


@dataclass(frozen=True)
class DeepNorm(Recipe):
    r"""Post-norm transformers of a thousand layers: Glorot's weights, with values, outputs and MLPs times β.

    .. math:: β = (8N)^{-1/4}, \qquad \text{the stream times } α = (2N)^{1/4} \text{ in front of each sum}

    N is the number of blocks. Where the code multiplies the stream by a number of its module, as torchscale's layers
    do, the recipe sets α there. Otherwise the recipe names the line for every sum. With ``fold`` the recipe divides the
    last weight of each branch by α instead. A norm behind the sum does not depend on the size of the sum:
    N(αx + f(x)) = N(x + f(x)/α). So the network is the same function, and its last weights get α times the gradient.

    Attributes
    ----------
    blocks
        N; ``"auto"`` takes half of the branches.
    fold
        Whether α is folded into the last weight of each branch.
    """

    blocks: int | Literal["auto"] = "auto"
    fold: bool = False
    word: ClassVar[str] = "deepnorm"
    purpose: ClassVar[str] = "very deep transformers with normalisers behind the sums"
    needs: ClassVar[tuple[Need, ...]] = ("graph", "batch")
    source: ClassVar[str] = (
        "Wang et al., DeepNet, 2022, encoder-only and decoder-only models, as in torchscale"
    )

    def draft(self, draft: Draft) -> None:
        """Every weight; tables get rows of variance 1."""
        branches = require_branches(draft)
        count = max(len(branches) / 2, 1.0) if self.blocks == "auto" else float(self.blocks)
        beta, alpha = (8 * count) ** -0.25, (2 * count) ** 0.25
        for slot in draft.blueprint.slots:
            if slot.kind == "embedding":
                draft.draw(slot, 1.0, "one row is read at a time")
                continue
            factor = beta if slot.branch >= 0 else 1.0
            if self.fold and slot.ends_branch:
                factor /= alpha
            put_by_part(draft, slot, {"q": 1.0, "k": 1.0}, factor, "Glorot")
        for branch in branches if not self.fold else ():
            if branch.ends and not stream_factor(draft, branch, alpha):
                line = f"write {alpha:.6g} * x + branch(x) in its code, or take deepnorm(fold=True)"
                draft.leave(f"the sum behind {branch.ends[-1]}", line)


def stream_factor(draft: Draft, branch: Branch, alpha: float) -> bool:
    """Whether the stream in front of a sum is times α: it is by now, or a number of the code is set to be."""
    seen = draft.blueprint.structure
    if seen is None or branch.row < 0:
        return False
    (stream,) = [p for p in seen.links[branch.row] if p != branch.end][:1] or [-1]
    if abs(seen.factors.get(branch.row, {}).get(stream, 1.0) - alpha) < 1e-6 * alpha:
        return True
    return draft.number((branch.row, stream), alpha, f"α = {alpha:.6g} on the stream")


def put_by_part(draft: Draft, slot: Slot, own: dict[str, float], factor: float, law: str) -> None:
    """Draft Glorot's normal weights times a factor, with a factor of their own for some parts of attention."""
    parts = attention_parts(slot, draft.blueprint.slots)
    std = math.sqrt(2.0 / (slot.fan_in + slot.fan_out))
    value = normal(slot.weight.shape, draft.generator, slot.weight.dtype) * std
    factors = [own.get(part, factor) for part in parts] or [factor]
    value = times_blocks(slot, value, factors)
    said = ", ".join(f"{p} × {f:.4g}" for p, f in zip(parts, factors, strict=False)) or f"× {factor:.4g}"
    if draft.put(slot, value, f"{law} {said}"):
        draft.shift(slot, 0.0)


def times_blocks(slot: Slot, value: Tensor, factors: list[float]) -> Tensor:
    """Multiply the stacked blocks of a weight by one factor each."""
    axis = 1 if slot.inputs_first else 0
    size = value.shape[axis] // len(factors)
    return torch.cat([b * f for b, f in zip(value.split(size, axis), factors, strict=True)], axis)


@dataclass(frozen=True)
class TransformerConstants(Recipe):
    r"""Var w = C/fan-in with one constant for queries, keys, values, outputs and the MLP, and their learning rates.

    For T tokens with correlation ρ in front of attention, the second moment behind it is

    .. math:: K = C_V C_U \Big[ρ + (1 - ρ) \frac{e^{s^2}}{T}\Big], \qquad s^2 = C_Q C_K (1 - ρ)

    Attributes
    ----------
    c_q, c_k, c_v, c_u
        Constants of queries, keys, values and outputs.
    c_mlp
        Constant of the weights that read no activation; those that read one get C/E φ².
    rate_qk
        Factor on the learning rate of queries and keys.
    """

    c_q: float = 1.0
    c_k: float = 1.0
    c_v: float = 1.0
    c_u: float = 1.0
    c_mlp: float = 1.0
    rate_qk: float = 1.0
    word: ClassVar[str] = "transformer"
    purpose: ClassVar[str] = "transformers whose attention shall start with a known sharpness and size"
    needs: ClassVar[tuple[Need, ...]] = ("graph", "batch")
    changes: ClassVar[tuple[str, ...]] = ("weights", "biases", "learning rates")
    source: ClassVar[str] = (
        "Dinan, Yaida & Zhang, Effective theory of transformers at initialization, 2023 (catalogue 89)"
    )

    def draft(self, draft: Draft) -> None:
        """Every weight and table."""
        from firstlight import activations

        constants = {"q": self.c_q, "k": self.c_k, "v": self.c_v, "u": self.c_u}
        for slot in draft.blueprint.slots:
            if slot.kind == "embedding":
                draft.draw(slot, 1.0, "one row is read at a time")
                continue
            parts = attention_parts(slot, draft.blueprint.slots)
            second = float(activations.second(slot.phi, 1.0)) if slot.phi is not None else 1.0
            found = [constants[part] for part in parts] or [self.c_mlp / second]
            value = normal(slot.weight.shape, draft.generator, slot.weight.dtype) / math.sqrt(slot.fan_in)
            value = times_blocks(slot, value, [math.sqrt(c) for c in found])
            names = ", ".join(f"C_{p.upper()} = {c:.4g}" for p, c in zip(parts, found, strict=False))
            if draft.put(slot, value, f"normal, {names or f'C = {found[0]:.4g}'}"):
                draft.shift(slot, 0.0)
                if self.rate_qk != 1.0 and parts and set(parts) <= {"q", "k"}:
                    draft.rate(slot.name, self.rate_qk)
