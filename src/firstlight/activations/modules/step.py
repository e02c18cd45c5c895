"""Trainable step functions in place of an activation: a diagonal matrix that depends on the entries."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from firstlight.activations.activation import Activation, from_callable
from firstlight.errors import DomainError


class StepActivation(nn.Module):
    """Z times a trained step function of z: φ(z) = d_i·z between the edges i and i + 1.

    Parameters
    ----------
    edges
        Increasing places of the steps.
    start
        Values d of the steps, one more than edges; ones where not given, which is the identity. (0, 1) with the edge 0
        is ReLU.

    Raises
    ------
    DomainError
        Edges that do not increase, or another number of values.

    Notes
    -----
    Liu and others' trainable activation matrices, diagonal case; written from a description, not from their code.

    Examples
    --------
    >>> import torch
    >>> from firstlight.activations.modules import StepActivation
    >>> StepActivation((0.0,), (0.0, 1.0))(torch.tensor([-1.0, 2.0])).tolist()
    [-0.0, 2.0]
    """

    def __init__(
        self, edges: Sequence[float] = (-1.0, 0.0, 1.0), start: Sequence[float] | None = None
    ) -> None:
        super().__init__()
        values = [1.0] * (len(edges) + 1) if start is None else [float(v) for v in start]
        if len(values) != len(edges) + 1 or any(b <= a for a, b in itertools.pairwise(edges)):
            raise DomainError(
                f"while making a StepActivation: expected increasing edges and one value more, got {tuple(edges)} "
                f"and {len(values)} values"
            )
        self.register_buffer("edges", torch.tensor([float(e) for e in edges]))
        self.steps = nn.Parameter(torch.tensor(values))

    edges: Tensor

    def forward(self, z: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """d(z)·z; the places of the steps have no gradient."""
        return self.steps[torch.bucketize(z.detach().contiguous(), self.edges)] * z

    def as_activation(self) -> Activation:
        """The activation with the steps as they are now."""
        edges, steps = self.edges.double(), self.steps.detach().double()
        return from_callable(lambda x: steps[torch.bucketize(x.contiguous(), edges)] * x, name="learnt step")
