"""Chain: a network as a row of named blocks, for theory and as torch modules."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from firstlight.builders.blocks.description import Block, Blocks
from firstlight.builders.dense import draw
from firstlight.clean_room import clean
from firstlight.errors import DomainError
from firstlight.profile import Profile


@dataclass(frozen=True)
class Chain:
    """A first linear layer without bias, then blocks of one width, one after the other.

    Attributes
    ----------
    blocks
        The blocks, in order.
    width
        Units between the blocks.
    sigma_w
        Scale of the first layer: its outputs have the second moment σ_w² q₀.

    Raises
    ------
    DomainError
        A width that is not positive, or something that is no block.

    Examples
    --------
    >>> from firstlight.builders.blocks import Blocks, Chain, NFBlock
    >>> chain = Chain(Blocks((NFBlock("relu"),)) * 12, width=256)
    >>> chain.predict(q0=1.0)["q"].round(6)[[0, 1, 12]].tolist()
    [1.0, 2.0, 13.0]
    """

    blocks: Iterable[Block]
    width: int
    sigma_w: float = 1.0

    def __post_init__(self) -> None:
        blocks = Blocks(self.blocks)
        wrong = [type(b).__name__ for b in blocks if not isinstance(b, Block)]
        if wrong or isinstance(self.width, bool) or self.width < 1:
            raise DomainError(
                f"while describing a Chain: expected blocks and a width ≥ 1, got "
                f"{wrong or len(blocks)} and {self.width}"
            )
        object.__setattr__(self, "blocks", blocks)

    @clean
    def predict(self, *, q0: float = 1.0) -> Profile:
        """What wide-layer theory says, one row for the first layer and for each block.

        Parameters
        ----------
        q0
            Mean square of the inputs' entries, > 0.

        Returns
        -------
        Profile
            ``q`` behind each block, ``growth`` (log factor of the squared gradient from behind the next block to
            here) and ``log_grad`` relative to the end.

        Raises
        ------
        DomainError
            q0 that is not positive, or a moment that diverges.
        """
        if not q0 > 0:
            raise DomainError(f"while predicting a Chain: expected a mean square q0 > 0, got {q0}")
        q, growth = [self.sigma_w**2 * float(q0)], []
        for block in self.blocks:
            growth.append(math.log(block.gradient(q[-1])))
            q.append(block.second_moment(q[-1]))
        sums = np.concatenate([np.cumsum(growth[::-1])[::-1], [0.0]])
        columns = {
            "name": ["first", *(f"{i + 1} {block.name}" for i, block in enumerate(self.blocks))],
            "kind": ["weight", *["block" for _ in growth]],
            "q": q,
            "growth": [*growth, math.nan],
            "log_grad": 0.5 * sums,
        }
        return Profile(columns, "predict", {"q0": q0, "width": self.width})

    def build(
        self, in_features: int, *, q0: float = 1.0, generator: torch.Generator | None = None
    ) -> nn.Sequential:
        """The chain as a torch module with fresh weights; q0 is the mean square of the inputs it is made for."""
        first = nn.Linear(in_features, self.width, bias=False)
        modules: OrderedDict[str, nn.Module] = OrderedDict(
            first=draw(first, sigma_w=self.sigma_w, generator=generator)
        )
        q = self.sigma_w**2 * float(q0)
        for i, block in enumerate(self.blocks):
            modules[f"block{i + 1}"] = block.module(self.width, q=q, generator=generator)
            q = block.second_moment(q)
        return nn.Sequential(modules)
