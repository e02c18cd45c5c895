"""Networks of blocks, each built as a torch module and run, in the place of the exact samplers."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from firstlight.ensemble._propagate import Gradient, Layer, Passed, Propagator
from firstlight.errors import DomainError
from firstlight.network import RandomNetwork
from firstlight.network_fields import Chained


def engine_of(net: RandomNetwork, x: Float[Tensor, "features *space inputs"]) -> Propagator | Built:
    """What draws this network: exact samplers for equal layers, torch modules for blocks."""
    return Propagator.of(net, x) if net.blocks is None else Built(net.chain, x)


@dataclass(frozen=True)
class Built:
    """A chain of blocks, ready for chunks of any size; nothing is known of its layers' laws given the ones before."""

    chain: Chained
    x: Float[Tensor, "features inputs"]

    def gaussian(self, layer: int) -> bool:
        """Nothing but what is drawn is known of a block."""
        del layer
        return False

    def forward(
        self,
        nets: int,
        generator: torch.Generator,
        *,
        layers: Collection[int],
        covariance: bool = False,
        units: bool = True,
        trace: Passed | None = None,
    ) -> Iterator[Layer]:
        """The wanted rows of ``nets`` fresh networks, in order; ``trace`` collects what ``backward`` needs."""
        del covariance, units
        inputs = self.x.T.contiguous()
        q0 = float(inputs.double().square().mean())
        built = [
            self.chain.build(len(self.x), q0=q0, generator=generator).to(inputs.dtype) for _ in range(nets)
        ]
        rows = [inputs for _ in built]
        last = len(built[0]) if trace is not None else max(layers)
        for index in range(1, last + 1):
            with torch.set_grad_enabled(trace is not None):
                rows = [_run(net[index - 1], row, index) for net, row in zip(built, rows, strict=True)]
            if trace is not None:
                trace.z.append(torch.empty(0))
                trace.memos.append((rows, [list(net[index - 1].parameters()) for net in built]))
            if index in layers:
                yield Layer(index, torch.stack([row.detach().T for row in rows]), None)

    def backward(self, trace: Passed, generator: torch.Generator) -> Iterator[Gradient]:
        """Gradients of Σ ⟨u, Z⟩ with N(0,1) entries u behind the last block; NaN for blocks without parameters."""
        ends, _ = trace.memos[-1]
        with torch.enable_grad():
            parts = [(end * torch.empty_like(end).normal_(generator=generator)).sum() for end in ends]
            total = torch.stack(parts).sum()
            wanted = [t for rows, held in trace.memos for t in (*rows, *(p for own in held for p in own))]
            found = dict(
                zip(map(id, wanted), torch.autograd.grad(total, wanted, allow_unused=True), strict=True)
            )
        for index in range(len(trace.memos), 0, -1):
            rows, held = trace.memos[index - 1]
            square = torch.stack([_square(found[id(row)], mean=True) for row in rows])
            weight = torch.stack([_sum(found, own) for own in held])
            yield Gradient(index, square, weight)


def _run(module: nn.Module, row: Tensor, index: int) -> Tensor:
    try:
        result: Tensor = module(row)
    except ValueError as error:  # batch norm on one input
        raise DomainError(
            f"while simulating block {index - 1}: expected inputs that the block takes, got shape {tuple(row.shape)} "
            f"({error}); give a batch"
        ) from error
    return result


def _square(gradient: Tensor | None, *, mean: bool = False) -> Tensor:
    if gradient is None:
        return torch.zeros((), dtype=torch.float64)
    square = gradient.double().square()
    return square.mean() if mean else square.sum()


def _sum(found: Mapping[int, Tensor | None], parameters: list[nn.Parameter]) -> Tensor:
    if not parameters:
        return torch.tensor(math.nan, dtype=torch.float64)
    return torch.stack([_square(found[id(p)]) for p in parameters]).sum()
