"""Chain: a network as a row of named blocks, for theory, for ensembles and as torch modules."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from firstlight.builders.blocks.description import Block, Blocks
from firstlight.builders.blocks.layer import Layer
from firstlight.builders.dense import draw
from firstlight.clean_room import clean
from firstlight.errors import DomainError
from firstlight.network import RandomNetwork
from firstlight.profile import Profile
from firstlight.weights import get as law_of

ASSUMPTIONS = {
    "q": "normal entries of mean 0 between blocks, and independent weights: exact as width grows",
    "correlation": "two inputs that are normal together; NaN behind a block that does not know its own",
    "chi": "weights of the backward pass independent of the forward pass",
}


@dataclass(frozen=True)
class Chain:
    """A first linear layer, then blocks of one width, one after the other.

    ``firstlight.predict`` and ``firstlight.simulate`` take a chain as they take a `RandomNetwork`, which is the same
    with checks: its ``blocks`` are a chain's, and its other fields the shorthand for equal layers (`Chain.of`).

    Attributes
    ----------
    blocks
        The blocks, in order.
    width
        Units between the blocks.
    sigma_w, sigma_b
        Scales of the first layer: its outputs have the second moment σ_w² q₀ + σ_b².
    first_law
        Law of the first layer's weights.

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
    sigma_b: float = 0.0
    first_law: Any = "normal"

    def __post_init__(self) -> None:
        blocks = Blocks(self.blocks)
        wrong = [type(b).__name__ for b in blocks if not isinstance(b, Block)]
        if wrong or isinstance(self.width, bool) or self.width < 1:
            raise DomainError(
                f"while describing a Chain: expected blocks and a width ≥ 1, got "
                f"{wrong or len(blocks)} and {self.width}"
            )
        object.__setattr__(self, "blocks", blocks)

    @classmethod
    def of(cls, network: RandomNetwork) -> Chain:
        """The chain of the blocks of a `RandomNetwork`, or of the equal layers that its fields describe.

        Raises
        ------
        DomainError
            Convolutions, widths that differ, or the parametrisation "ntk", which a chain does not have.

        Examples
        --------
        >>> import firstlight
        >>> from firstlight.builders.blocks import Chain
        >>> net = firstlight.RandomNetwork(depth=3, width=64, activation="gelu", sigma_w=1.4, sigma_b=0.1)
        >>> bool((Chain.of(net).predict()["q"] == firstlight.predict(net)["q"].round(12)).all())
        False
        >>> bool((abs(Chain.of(net).predict()["q"] - firstlight.predict(net)["q"]) < 1e-9).all())
        True
        """
        if network.blocks is not None:
            return cls(
                network.blocks, network.widths[0], network.sigma_w, network.sigma_b, network.first_layer
            )
        if (
            network.kernel_size is not None
            or len(set(network.widths)) > 1
            or network.parametrisation != "standard"
        ):
            raise DomainError(
                "while describing a Chain: expected dense layers of one width in the standard parametrisation, got "
                f"kernel_size={network.kernel_size}, width={network.width}, parametrisation={network.parametrisation!r}"
            )
        layers = Blocks((Layer(network),) * (network.depth - 1))
        return cls(layers, network.widths[0], network.sigma_w, network.sigma_b, network.first_layer)

    def _first(self, q0: float) -> float:
        return self.sigma_w**2 * float(law_of(self.first_law).variance) * float(q0) + self.sigma_b**2

    @clean
    def predict(self, *, q0: float = 1.0, c0: float = 0.5) -> Profile:
        """What wide-layer theory says, one row for the first layer and for each block.

        Parameters
        ----------
        q0
            Mean square of the inputs' entries, > 0.
        c0
            Cosine between two inputs.

        Returns
        -------
        Profile
            ``q`` behind each block, ``correlation`` (NaN behind a block that does not know its own), ``chi`` and
            ``growth`` (factor of the squared gradient from behind the next block to here, and its log) and ``log_grad``
            relative to the end.

        Raises
        ------
        DomainError
            q0 that is not positive, c0 outside [−1, 1], or a moment that diverges.
        """
        if not (q0 > 0 and -1 <= c0 <= 1):
            raise DomainError(
                f"while predicting a Chain: expected a mean square q0 > 0 and a cosine c0, got {q0} and {c0}"
            )
        q, chi = [self._first(q0)], []
        c = [(self._first(q0) * c0 + self.sigma_b**2 * (1 - c0)) / q[0]]
        for block in self.blocks:
            chi.append(block.gradient(q[-1]))
            c.append(block.correlation(q[-1], c[-1]))
            q.append(block.second_moment(q[-1]))
        with np.errstate(divide="ignore"):
            growth = np.log(np.array(chi, dtype=np.float64))
        sums = np.concatenate([np.cumsum(growth[::-1])[::-1], [0.0]])
        columns = {
            "name": list(self.names),
            "kind": ["weight", *["block" for _ in chi]],
            "depth": np.arange(1, len(q) + 1),
            "q": q,
            "correlation": c,
            "chi": [*chi, math.nan],
            "growth": [*growth, math.nan],
            "log_grad": 0.5 * sums,
        }
        meta = {"q0": q0, "c0": c0, "width": self.width, "level": "blocks", "assumptions": dict(ASSUMPTIONS)}
        return Profile(columns, "predict", meta)

    @property
    def names(self) -> tuple[str, ...]:
        """What the rows of a profile are called."""
        return ("first", *(f"{i + 1} {block.name}" for i, block in enumerate(self.blocks)))

    @clean
    def simulate(self, inputs: Tensor | None = None, *, nets: int = 100, seed: int = 0) -> Profile:
        """Networks drawn from the chain, each built and run: means over networks, and theory beside them.

        Parameters
        ----------
        inputs
            Inputs × features; two normal ones of 100 features by default.
        nets
            Networks, at least 2.
        seed
            The same seed gives the same numbers.

        Returns
        -------
        Profile
            ``q`` and ``correlation`` (of the first two inputs) with their standard errors, ``q_spread``, the deviation
            between networks over the mean, ``log_grad`` relative to the end, and theory in ``q_theory``,
            ``correlation_theory`` and ``log_grad_theory``.

        Raises
        ------
        DomainError
            Fewer than two networks, or inputs that are no matrix.
        """
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(2, 100, generator=generator) if inputs is None else inputs
        if nets < 2 or x.dim() != 2:
            raise DomainError(
                f"while simulating a Chain: expected at least 2 networks and inputs × features, got {nets} and shape "
                f"{tuple(x.shape)}"
            )
        q0 = float(x.double().square().mean())
        found = torch.stack([self._run(x, q0, generator) for _ in range(nets)])  # networks, quantities, rows
        mean, spread = found.mean(0).numpy(), found.std(0).numpy()
        error = spread / math.sqrt(nets)
        c0 = float(torch.cosine_similarity(x[0], x[1], dim=0)) if len(x) > 1 else 1.0
        theory = self.predict(q0=q0, c0=max(-1.0, min(1.0, c0)))
        grad = np.log(mean[2]) / 2
        columns = {
            "name": list(self.names),
            "kind": theory["kind"],
            "depth": theory["depth"],
            "q": mean[0],
            "q_se": error[0],
            "q_spread": spread[0] / mean[0],
            "correlation": mean[1],
            "correlation_se": error[1],
            "log_grad": grad - grad[-1],
            "q_theory": theory["q"],
            "correlation_theory": theory["correlation"],
            "log_grad_theory": theory["log_grad"],
        }
        return Profile(columns, "simulate", {"nets": nets, "seed": seed, "width": self.width, "q0": q0})

    def _run(self, x: Tensor, q0: float, generator: torch.Generator) -> Tensor:
        """Second moment, cosine of the first two inputs and mean squared gradient behind every block of one network."""
        model = self.build(x.shape[1], q0=q0, generator=generator).to(x.dtype)
        z, rows = x.detach().requires_grad_(), []
        with torch.enable_grad():
            for part in model:
                z = part(z)
                z.retain_grad()
                rows.append(z)
            (z * torch.randn(z.shape, generator=generator, dtype=x.dtype)).sum().backward()
        found = []
        for row in rows:
            r, g = row.detach().double(), row.grad
            c = float(torch.cosine_similarity(r[0], r[1], dim=0)) if len(r) > 1 else math.nan
            found.append(
                [
                    float(r.square().mean()),
                    c,
                    float(g.double().square().mean()) if g is not None else math.nan,
                ]
            )
        return torch.tensor(found, dtype=torch.float64).T

    def build(
        self, in_features: int, *, q0: float = 1.0, generator: torch.Generator | None = None
    ) -> nn.Sequential:
        """The chain as a torch module with fresh weights; q0 is the mean square of the inputs it is made for."""
        if generator is None:
            return self._built(in_features, q0, None)
        with torch.random.fork_rng(
            devices=[]
        ):  # modules draw a first start of their own, which is written over
            return self._built(in_features, q0, generator)

    def _built(self, in_features: int, q0: float, generator: torch.Generator | None) -> nn.Sequential:
        first = nn.Linear(in_features, self.width, bias=self.sigma_b > 0)
        draw(
            first, sigma_w=self.sigma_w, sigma_b=self.sigma_b, weight_law=self.first_law, generator=generator
        )
        modules: OrderedDict[str, nn.Module] = OrderedDict(first=first)
        q = self._first(q0)
        for i, block in enumerate(self.blocks):
            modules[f"block{i + 1}"] = block.module(self.width, q=q, generator=generator)
            q = block.second_moment(q)
        return nn.Sequential(modules)
