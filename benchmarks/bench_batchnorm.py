"""Deep batch-normalised networks: a training step, Haar initialisation, and measuring every layer."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

from benchmarks.harness import Row, interleaved
from firstlight.builders import NormOptions, isometric_mlp, log_gradients
from firstlight.weights import haar

DEPTH, WIDTH, BATCH = 1000, 100, 100


class PlainNorm(nn.Module):
    """What follows each linear layer in the paper's own experiments (github.com/alexandrumeterez/bngrad).

    Operation by operation as their module has it: take off the mean, divide by the norm over the batch, which is
    first divided by √n, multiply by the gain of the layer, and apply an activation module, here the identity.
    Their lookups of every layer by name are left out.
    """

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = gain
        self.activation = nn.Identity()

    def forward(self, x):
        x = x - x.mean(dim=0, keepdim=True)
        norm = x.norm(dim=0, keepdim=True)
        return self.activation(x / (norm / math.sqrt(len(x))) * self.gain)


def sequences(depth: int) -> dict[str, nn.Module]:
    """The same weights in three networks."""
    ours = isometric_mlp(WIDTH, None, depth=depth, width=WIDTH)
    weights = [m.weight for m in ours if isinstance(m, nn.Linear)]

    def copies(norm):
        layers = []
        for index, weight in enumerate(weights, start=1):
            linear = nn.utils.skip_init(nn.Linear, WIDTH, WIDTH, bias=False)
            linear.weight = nn.Parameter(weight.detach().clone())
            layers += [linear, norm(index)]
        return nn.Sequential(*layers)

    return {
        "ours": ours,
        "torch": copies(lambda _: nn.BatchNorm1d(WIDTH)),
        "plain": copies(lambda index: PlainNorm(float(index) ** -0.4)),
    }


def matrix_products(weights: list[torch.Tensor], x: torch.Tensor) -> None:
    """What no implementation can avoid: one product forward and two backward per layer, with what must be kept.

    Every layer has its own weight, its features stay until the backward pass, and its gradient stays after it.
    """
    h = g = x.t().contiguous()
    features = [torch.mm(w, h) for w in weights]
    gradients = []
    for w, z in zip(reversed(weights), reversed(features), strict=True):
        gradients.append(torch.mm(g, z.t()))
        torch.mm(w.t(), g)


def step(model: nn.Module, x: torch.Tensor):
    def run() -> None:
        model.zero_grad(set_to_none=True)
        model(x).sum().backward()

    return run


def loop_of_orthogonal(depth: int) -> list[torch.Tensor]:
    return [nn.init.orthogonal_(torch.empty(WIDTH, WIDTH)) for _ in range(depth)]


def run(depth: int = DEPTH, repeats: int = 7) -> list[Row]:
    torch.manual_seed(0)
    x = torch.randn(BATCH, WIDTH)
    models = sequences(depth)
    steps = {name: step(model.train(), x) for name, model in models.items()}
    weights = [p.detach() for p in models["ours"].parameters()]
    seconds = interleaved({"products": lambda: matrix_products(weights, x), **steps}, repeats=repeats)
    ours = seconds["ours"]
    rows = [
        Row("training step / three matrix products a layer", ours / seconds["products"], 2.2,
            detail=f"{1e6 * ours / depth:.0f} µs a layer"),
        Row("Linear + BatchNorm1d / ours", seconds["torch"] / ours, 1.4, False),
        Row("the authors' formulation / ours", seconds["plain"] / ours, 2.5, False),
    ]  # fmt: skip
    start = interleaved(
        {"loop": lambda: loop_of_orthogonal(depth // 4), "haar": lambda: haar(WIDTH, count=depth // 4)},
        repeats=repeats,
    )
    rows.append(
        Row("nn.init.orthogonal_ in a loop / batched Haar", start["loop"] / start["haar"], 1.25, False)
    )
    return rows + measured_rows(depth, repeats)


def measured_rows(depth: int, repeats: int) -> list[Row]:
    """A step that also takes the gap of every layer's features and the log norm of every gradient."""
    cases = {
        "uncentred, batch = width": (NormOptions(centred=False), WIDTH, 0),
        "batch norm, batch 128": (NormOptions(), 128, 0),
        "batch norm, batch 128, after 20 steps": (NormOptions(), 128, 20),
    }
    rows = []
    for case, (norm, batch, steps) in cases.items():
        model = isometric_mlp(WIDTH, None, depth=depth, width=WIDTH, norm=norm)
        x, target = torch.randn(batch, WIDTH), torch.randint(0, WIDTH, (batch,))
        plain, measured = with_and_without(model, x, target)
        optimiser = torch.optim.SGD(model.parameters(), lr=0.005)
        for _ in range(steps):
            plain()
            optimiser.step()
        cost = interleaved({"plain": plain, "measured": measured}, repeats=repeats)
        claim = f"step with gap and log gradient of every layer / step ({case})"
        rows.append(Row(claim, cost["measured"] / cost["plain"], 1.3))
    return rows


def with_and_without(model: nn.Sequential, x: torch.Tensor, target: torch.Tensor):
    """A step without and with measurement; both leave the gradients."""

    def loss(y: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(y, target)

    def plain() -> None:
        model.zero_grad(set_to_none=True)
        loss(model(x)).backward()

    def measured() -> None:
        model.zero_grad(set_to_none=True)
        log_gradients(model, x, loss, gaps=True, keep=True)

    return plain, measured
