"""Starts from identities: ZerO's Hadamard matrices, and IDInit's padded identities."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from firstlight.recipes.draws import middle_tap
from firstlight.recipes.layout.slots import Slot
from firstlight.recipes.recipe import Draft, Need, Recipe


def zero_matrix(rows: int, columns: int) -> Tensor:
    r"""ZerO's matrix: an identity, cut where the layer narrows, and c I H I with a Hadamard matrix H where it widens.

    H has 2^m rows, m = ⌈log₂ rows⌉, and c = 2^{−m/2}, as in the authors' code; where 2^m rows stay, the columns of the
    result are orthonormal.

    Examples
    --------
    >>> from firstlight.recipes import zero_matrix
    >>> [round(float(x), 9) for x in (zero_matrix(4, 2).T @ zero_matrix(4, 2)).flatten()]
    [1.0, 0.0, 0.0, 1.0]
    """
    if rows <= columns:
        return torch.eye(rows, columns, dtype=torch.float64)
    power = math.ceil(math.log2(rows))
    hadamard = torch.ones(1, 1, dtype=torch.float64)
    for _ in range(power):
        hadamard = torch.cat([torch.cat([hadamard, hadamard], 1), torch.cat([hadamard, -hadamard], 1)])
    return hadamard[:rows, :columns] * 2.0 ** (-power / 2)


def padded_identity(rows: int, columns: int) -> Tensor:
    """IDInit's matrix: identities one after another along the longer side, so that its rank is not lost in training.

    Examples
    --------
    >>> from firstlight.recipes import padded_identity
    >>> padded_identity(2, 3)
    tensor([[1., 0., 1.],
            [0., 1., 0.]], dtype=torch.float64)
    """
    short, long = min(rows, columns), max(rows, columns)
    tall = torch.eye(short, dtype=torch.float64).repeat(-(-long // short), 1)[:long]
    return tall if rows >= columns else tall.T.contiguous()


def in_middle(slot: Slot, matrix: Tensor) -> Tensor:
    """A weight with this matrix (outputs × inputs) in the middle tap of its kernel, and zeros elsewhere."""
    return middle_tap(slot.weight.shape, matrix.T if slot.inputs_first else matrix)


def matrix_shape(slot: Slot) -> tuple[int, int]:
    """Outputs and inputs of one matrix of a slot: of a group, or of a stacked block."""
    shape = slot.weight.shape
    rows, columns = (shape[1], shape[0]) if slot.inputs_first else (shape[0], shape[1])
    return rows // slot.blocks, columns


def matrices(draft: Draft) -> Iterator[Slot]:
    """The weights that hold a matrix; tables are drawn, and what has no matrix whose outputs are known is left."""
    for slot in draft.blueprint.slots:
        if slot.kind == "embedding":
            draft.draw(slot, 1.0, "one row is read at a time")
        elif slot.kind in ("bare", "bilinear"):
            draft.leave(slot.name, "it has no matrix whose outputs are known")
        else:
            yield slot


@dataclass(frozen=True)
class ZerO(Recipe):
    """Identities and Hadamard matrices, and zeros at the ends of branches and at the readout: no random number at all.

    Weights that widen get a Hadamard matrix, so that units that start alike do not stay alike. Bare parameters are
    left.
    """

    word: ClassVar[str] = "zero"
    purpose: ClassVar[str] = "residual networks that must start the same on every run"
    needs: ClassVar[tuple[Need, ...]] = ("graph",)
    source: ClassVar[str] = (
        "Zhao, Schäfer & Anandkumar, ZerO Initialization, TMLR 2022, and the authors' code"
    )

    def draft(self, draft: Draft) -> None:
        """Every weight; biases are zero."""
        for slot in matrices(draft):
            if slot.ends_branch or (slot.readout and slot.branch < 0 and not slot.tied):
                draft.put(slot, torch.zeros(slot.weight.shape), "zeros: ends a branch or the network")
                draft.shift(slot, 0.0)
            else:
                rows, columns = matrix_shape(slot)
                matrix = zero_matrix(rows, columns).repeat(slot.blocks, 1)
                kind = "Hadamard" if rows > columns else "identity"
                draft.put(slot, in_middle(slot, matrix if slot.groups == 1 else _grouped(slot, rows)), kind)
                draft.shift(slot, 0.0)


@dataclass(frozen=True)
class IDInit(Recipe):
    """Padded identities, and nearly zero weights ±ε at the ends of branches, which do not stop the first step.

    Attributes
    ----------
    epsilon
        Size of the entries at the ends of branches.
    scale
        Factor on the identities; None for the edge of chaos of the activation that the weight reads.
    """

    epsilon: float = 1e-6
    scale: float | None = 1.0
    word: ClassVar[str] = "idinit"
    purpose: ClassVar[str] = "residual networks and transformers: stable and fast from the identity"
    needs: ClassVar[tuple[Need, ...]] = ("graph",)
    source: ClassVar[str] = "Pan et al., IDInit, ICLR 2025: τ = 1 and ε = 1e-6; the signs of ε are our own"

    def draft(self, draft: Draft) -> None:
        """Every weight; biases are zero."""
        from firstlight.recipes.laws.critical import critical_point

        for slot in matrices(draft):
            if slot.ends_branch:
                rows, columns = matrix_shape(slot)
                sign = torch.where(torch.arange(columns) % 2 == 0, 1.0, -1.0).double()
                matrix = (padded_identity(rows, columns) * sign).repeat(slot.blocks, 1) * self.epsilon
                value = in_middle(slot, matrix if slot.groups == 1 else _grouped(slot, rows) * self.epsilon)
                draft.put(slot, value, f"±{self.epsilon:g} on the diagonal: ends a branch")
                draft.shift(slot, 0.0)
            else:
                rows, columns = matrix_shape(slot)
                factor = self.scale if self.scale is not None else critical_point(slot, draft.blueprint)[0]
                matrix = padded_identity(rows, columns).repeat(slot.blocks, 1)
                value = in_middle(slot, matrix if slot.groups == 1 else _grouped(slot, rows))
                draft.put(slot, value * factor, f"padded identity × {factor:.4g}")
                draft.shift(slot, 0.0)


def _grouped(slot: Slot, rows: int) -> Tensor:
    """The matrices of all groups, one below the other: each an identity of its own group."""
    shape = slot.weight.shape
    if slot.inputs_first:  # (inputs, outputs of a group): written transposed
        return padded_identity(shape[0] // slot.groups, shape[1]).repeat(slot.groups, 1).T
    return padded_identity(rows // slot.groups, shape[1]).repeat(slot.groups, 1)
