"""Gaussian pairs: the exact functions and the fast modules against tanh and an inexact closed form."""

from __future__ import annotations

import math
import time

import numpy as np
import torch
from torch import nn

from benchmarks.harness import Row, interleaved, one_thread
from firstlight import pairs
from firstlight.pairs.exact.function import ExactActivation
from firstlight.pairs.exact.wright import WrightMagnitude
from firstlight.pairs.modules._lawson import fit

_ENTRIES = 1 << 18


def closed_form(x: torch.Tensor) -> torch.Tensor:
    """The form that the authors of the pair fit, a·tanh(bx)((|x|+c)^α + d)(log(|x|+f) + g); inexact."""
    return 1.1 * torch.tanh(0.9 * x) * ((x.abs() + 1.2) ** 0.4 + 0.3) * (torch.log(x.abs() + 1.5) + 0.8)


def _forward_backward(phi: object, x: torch.Tensor, grad: torch.Tensor) -> object:
    leaf = x.clone().requires_grad_()

    def step() -> None:
        phi(leaf).backward(grad)  # type: ignore[operator]
        leaf.grad = None

    return step


def _training_step(phi: nn.Module, *, compiled: bool = False) -> object:
    torch.manual_seed(0)
    net = nn.Sequential(*[m for _ in range(30) for m in (nn.Linear(100, 100), phi)], nn.Linear(100, 10))
    model = torch.compile(net) if compiled else net
    optimiser = torch.optim.Adam(net.parameters(), foreach=True)
    x, y = torch.randn(200, 100), torch.randint(0, 10, (200,))

    def step() -> None:
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimiser.step()

    return step


def run() -> list[Row]:
    """Speed of exact values, fits, modules and a training step."""
    rows = _exact_rows()
    torch.manual_seed(0)
    x, grad = torch.randn(_ENTRIES), torch.randn(_ENTRIES)
    modules = _modules()
    fns = {name: _forward_backward(phi, x, grad) for name, phi in modules.items()}
    fns |= {"tanh": _forward_backward(torch.tanh, x, grad), "form": _forward_backward(closed_form, x, grad)}
    with one_thread():
        for name, phi in modules.items():
            fns[f"compiled {name}"] = _forward_backward(torch.compile(phi, fullgraph=True), x, grad)
        took = interleaved(fns, repeats=9)  # type: ignore[arg-type]
    for name in modules:
        detail = f"{took[name] / took['tanh']:.2f}× eager tanh"
        claim = f"{name} module, eager forward+backward, over the authors' closed form"
        rows.append(Row(claim, took[name] / took["form"], 0.5, detail=detail))
    for name in modules:
        claim = f"{name} module, compiled forward+backward, over eager tanh"
        rows.append(Row(claim, took[f"compiled {name}"] / took["tanh"], 2.0))
    return [*rows, *_training_rows(modules)]


def _modules() -> dict[str, nn.Module]:
    """The modules of three kinds, and those with the native kernel where it can be built."""
    found = {kind: pairs.weibull(3.0, kind=kind) for kind in ("odd", "positive", "critical")}
    modules = {kind: pair.activation for kind, pair in found.items()}
    try:
        return modules | {f"native {kind}": pair.native().activation for kind, pair in found.items()}
    except pairs.BuildError as error:
        print(f"no native rows: {error}")
        return modules


def _training_rows(modules: dict[str, nn.Module]) -> list[Row]:
    phis = {name: phi for name, phi in modules.items() if name.endswith("odd")} | {"tanh": nn.Tanh()}
    steps = {name: _training_step(phi) for name, phi in phis.items()}
    steps |= {f"compiled {name}": _training_step(phi, compiled=True) for name, phi in phis.items()}
    took = interleaved(steps, repeats=9)  # type: ignore[arg-type]
    claim = "training step of a 30×100 MLP, batch 200, over the same with tanh"
    rows = []
    for name in phis:
        if name != "tanh":
            rows.append(Row(f"{name}: {claim}, eager", took[name] / took["tanh"], 1.6))
            ratio = took[f"compiled {name}"] / took["compiled tanh"]
            rows.append(Row(f"{name}: {claim}, both compiled", ratio, 1.6))
    return rows


def _exact_rows() -> list[Row]:
    x = np.linspace(-8, 8, 1000)
    rows = []
    for theta in (2.05, 3.0, 10.0):
        phi = ExactActivation(WrightMagnitude(theta), 0.5)
        seconds = interleaved({"exact": lambda phi=phi: phi(x)})["exact"]
        rows.append(Row(f"1000 exact values of φ, θ = {theta:g}, in ms", 1e3 * seconds, 20.0))
    start = time.process_time()
    theta = 3.1
    made = fit(ExactActivation(WrightMagnitude(theta), 0.5), tail_power=1 - 2 / theta)
    seconds = time.process_time() - start
    x32 = torch.linspace(-12, 12, 100_001)
    exact = ExactActivation(WrightMagnitude(theta), 0.5)(x32.double().numpy())
    error = float(np.abs(made.evaluate(x32)[0].double().numpy() - exact).max())
    rows.append(Row("a new θ ready, in s (the authors' pipeline: 560–760)", seconds, 10.0))
    rows.append(Row("its float32 error on [−12, 12], in 1e-6", 1e6 * error, 2.0))
    assert math.isfinite(error)
    return rows
