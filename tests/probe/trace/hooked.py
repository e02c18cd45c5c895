"""What plain hooks measure of a model, for comparison with an audit."""

import math

import pytest
import torch
from torch import nn

from firstlight.probe import probe


def by_hooks(model, batch, seed=0):
    """Second moment and log rms gradient of every Linear, call by call, without any audit."""
    torch.manual_seed(seed)
    squares, gradients = {}, {}

    def watch(name):
        def hook(module, args, out):
            calls = squares.setdefault(name, [])
            calls.append(out.detach().double().square().mean().item())
            key = name if len(calls) == 1 else f"{name}#{len(calls)}"
            if out.requires_grad:
                out.register_hook(lambda g: gradients.__setitem__(key, g.double().square().mean().item()))

        return hook

    hooks = [m.register_forward_hook(watch(n)) for n, m in model.named_modules() if isinstance(m, nn.Linear)]
    total(model(*batch) if isinstance(batch, tuple) else model(batch), None).backward()
    for hook in hooks:
        hook.remove()
    model.zero_grad()
    named = {n if k == 0 else f"{n}#{k + 1}": q for n, calls in squares.items() for k, q in enumerate(calls)}
    return named, gradients


def total(output, targets):
    return output.square().sum()


def agrees(model, batch):
    """Audit a model, and compare every Linear with what hooks measure; returns the measurement."""
    squares, gradients = by_hooks(model.train(), batch)
    result = probe(model, batch, loss=total)
    rows = {str(row["name"]): row for row in result.profile}
    assert squares.keys() <= rows.keys(), sorted(rows)
    for name, q in squares.items():
        assert rows[name]["q"] == pytest.approx(q, rel=1e-4), name  # float32 sums in another order
        if gradients.get(name, 0.0) > 0.0:
            assert rows[name]["log_grad"] == pytest.approx(0.5 * math.log(gradients[name]), abs=1e-3), name
    assert result.coverage.share == 1.0, result.coverage
    assert not result.coverage.blocked
    return result


class Net(nn.Module):
    """Four Linear layers, three of them behind the step."""

    def __init__(self, step):
        super().__init__()
        self.a, self.b, self.c, self.d = (nn.Linear(16, n) for n in (16, 16, 16, 4))
        self.act, self.step = nn.ReLU(), step

    def forward(self, x):
        return self.d(self.act(self.c(self.act(self.b(self.step(self.a(x)))))))
