"""Chain: a network as a row of named blocks, for theory, for ensembles and as torch modules."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Sequence
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
from firstlight.theory import propagate_density
from firstlight.theory.designs.rounding import rounding_noise
from firstlight.theory.predict import DENSITY_ASSUMPTIONS, ROUNDING_ASSUMPTIONS
from firstlight.weights import get as law_of

ASSUMPTIONS = {
    "q": "normal entries of mean 0 between blocks, and independent weights: exact as width grows",
    "correlation": "two inputs that are normal together; NaN behind a block that does not know its own",
    "chi": "weights of the backward pass independent of the forward pass",
}


@dataclass(frozen=True)
class Chain:
    """A first linear layer, then blocks, one after the other.

    ``firstlight.predict`` and ``firstlight.simulate`` take a chain as they take a `RandomNetwork`, which is the same
    with checks: its ``blocks`` are a chain's, and its other fields the shorthand for equal layers (`Chain.of`).

    Attributes
    ----------
    blocks
        The blocks, in order.
    width
        Units between the blocks: one number, or one behind the first layer and one behind each block.
    sigma_w, sigma_b
        Scales of the first layer: its outputs have the second moment σ_w² q₀ + σ_b².
    first_law
        Law of the first layer's weights.
    in_features
        Inputs of the first layer, which ``level="density"`` reads where that law is not normal.

    Raises
    ------
    DomainError
        A width that is not positive, something that is no block, or another width behind a block that keeps it.

    Examples
    --------
    >>> from firstlight.builders.blocks import Blocks, Chain, NFBlock
    >>> chain = Chain(Blocks((NFBlock("relu"),)) * 12, width=256)
    >>> chain.predict(q0=1.0)["q"].round(6)[[0, 1, 12]].tolist()
    [1.0, 2.0, 13.0]
    """

    blocks: Iterable[Block]
    width: int | Sequence[int]
    sigma_w: float = 1.0
    sigma_b: float = 0.0
    first_law: Any = "normal"
    in_features: int | None = None

    def __post_init__(self) -> None:
        blocks = Blocks(self.blocks)
        wrong = [type(b).__name__ for b in blocks if not isinstance(b, Block)]
        if not isinstance(self.width, int):
            object.__setattr__(self, "width", tuple(self.width))
        object.__setattr__(self, "blocks", blocks)
        if wrong or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in self.widths):
            raise DomainError(
                f"while describing a Chain: expected blocks and a width ≥ 1, got "
                f"{wrong or len(blocks)} and {self.width}"
            )
        if len(self.widths) != len(blocks) + 1:
            raise DomainError(
                f"while describing a Chain: expected {len(blocks) + 1} widths for a first layer and {len(blocks)} "
                f"blocks, got {len(self.widths)}"
            )
        for block, before, after in zip(blocks, self.widths, self.widths[1:]):
            if block.keeps_width and before != after:
                raise DomainError(
                    f"while describing a Chain: expected the width {before} behind {block.name!r}, which keeps it, got "
                    f"{after}; blocks of weights without an identity path, such as dense and gated, change the width"
                )

    @property
    def widths(self) -> tuple[int, ...]:
        """The width behind the first layer and behind each block."""
        if isinstance(self.width, int):
            return (self.width,) * (len(self.blocks) + 1)  # type: ignore[arg-type]
        return tuple(self.width)

    def layers(self) -> list[RandomNetwork]:
        """A description of every row's layer: the first one's, and those of the blocks.

        Raises
        ------
        DomainError
            A block that is no layer of a `RandomNetwork`.
        """
        first = RandomNetwork(
            depth=1,
            width=1,
            sigma_w=self.sigma_w,
            sigma_b=self.sigma_b,
            first_layer=self.first_law,
            in_features=self.in_features,
        )
        found = [first]
        for block in self.blocks:
            one = block.described
            if one is None:
                raise DomainError(
                    f"while propagating a density: expected blocks of one activation and independent weights (dense or "
                    f"layer), whose units are sums of independent terms, got {block.name!r}; simulate this network "
                    "instead"
                )
            found.append(one)
        return found

    @classmethod
    def of(cls, network: RandomNetwork) -> Chain:
        """The chain of the blocks of a `RandomNetwork`, or of the equal layers that its fields describe.

        Raises
        ------
        DomainError
            Convolutions, or the parametrisation "ntk", which a chain does not have.

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
        if network.kernel_size is not None or network.parametrisation != "standard":
            raise DomainError(
                "while describing a Chain: expected dense layers in the standard parametrisation, got "
                f"kernel_size={network.kernel_size}, parametrisation={network.parametrisation!r}"
            )
        return cls(
            network.blocks if network.blocks is not None else (Layer(network),) * (network.depth - 1),
            network.width,
            network.sigma_w,
            network.sigma_b,
            network.first_layer,
            network.in_features,
        )

    def _first(self, q0: float) -> float:
        return self.sigma_w**2 * float(law_of(self.first_law).variance) * float(q0) + self.sigma_b**2

    @clean
    def predict(
        self, *, q0: float = 1.0, c0: float = 0.5, level: str = "mean-field", bits: int | None = None
    ) -> Profile:
        """What wide-layer theory says, one row for the first layer and for each block.

        Parameters
        ----------
        q0
            Mean square of the inputs' entries, > 0.
        c0
            Cosine between two inputs.
        level
            ``"density"`` adds the law of units at this width (``theory.propagate_density``), for blocks that are plain
            layers.
        bits
            Bits to which the rows and their gradients are rounded, as for ``firstlight.predict``.

        Returns
        -------
        Profile
            ``q`` behind each block, ``correlation`` (NaN behind a block that does not know its own), ``chi`` and
            ``growth`` (factor of the squared gradient from behind the next block to here, and its log) and ``log_grad``
            relative to the end.

        Raises
        ------
        DomainError
            q0 that is not positive, c0 outside [−1, 1], another level, a moment that diverges, or a block that does
            not take ``level`` or ``bits``.
        """
        if not (q0 > 0 and -1 <= c0 <= 1):
            raise DomainError(
                f"while predicting a Chain: expected a mean square q0 > 0 and a cosine c0, got {q0} and {c0}"
            )
        if level not in ("mean-field", "density"):
            raise DomainError(
                f"while predicting a Chain: expected level 'mean-field' or 'density', got {level!r}"
            )
        q, chi = [self._first(q0)], []
        c = [(self._first(q0) * c0 + self.sigma_b**2 * (1 - c0)) / q[0]]
        for block in self.blocks:
            chi.append(block.gradient(q[-1]))
            c.append(block.correlation(q[-1], c[-1]))
            q.append(block.second_moment(q[-1]))
        with np.errstate(divide="ignore"):
            growth = np.log(np.array(chi, dtype=np.float64))
        n = np.array(self.widths, dtype=np.float64)
        sums = np.concatenate([np.cumsum(growth[::-1])[::-1], [0.0]]) + np.log(n[-1] / n)
        columns: dict[str, Any] = {
            "name": list(self.names),
            "kind": ["weight", *["block" for _ in chi]],
            "depth": np.arange(1, len(q) + 1),
            "q": q,
            "correlation": c,
            "chi": [*chi, math.nan],
            "growth": [*growth, math.nan],
            "log_grad": 0.5 * sums,
        }
        assumptions = dict(ASSUMPTIONS)
        if level == "density":
            columns |= self._density(q[0])
            assumptions |= DENSITY_ASSUMPTIONS
        if bits is not None:
            steps = [block.rounding(at, bits) for block, at in zip(self.blocks, q)]
            columns["quantisation_noise"], columns["gradient_noise"] = rounding_noise(q, steps, bits)
            assumptions |= ROUNDING_ASSUMPTIONS
        meta = {"q0": q0, "c0": c0, "width": self.width, "level": "blocks", "assumptions": assumptions}
        return Profile(columns, "predict", meta if bits is None else {**meta, "bits": bits})

    def _density(self, q1: float) -> dict[str, Any]:
        """The law of units, in place of the second moment and beside it."""
        network = RandomNetwork(
            width=self.width,
            blocks=self.blocks,
            sigma_w=self.sigma_w,
            sigma_b=self.sigma_b,
            first_layer=self.first_law,
            in_features=self.in_features,
        )
        laws = propagate_density(network, q1=q1)
        return {name: getattr(laws, name) for name in ("q", "kurtosis", "ks", "ks_standardised", "lost")}

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
        widths = self.widths
        first = nn.Linear(in_features, widths[0], bias=self.sigma_b > 0)
        draw(
            first, sigma_w=self.sigma_w, sigma_b=self.sigma_b, weight_law=self.first_law, generator=generator
        )
        modules: OrderedDict[str, nn.Module] = OrderedDict(first=first)
        q = self._first(q0)
        for i, block in enumerate(self.blocks):
            own: dict[str, Any] = {} if block.keeps_width else {"fan_out": widths[i + 1]}
            modules[f"block{i + 1}"] = block.module(widths[i], q=q, generator=generator, **own)
            q = block.second_moment(q)
        return nn.Sequential(modules)
