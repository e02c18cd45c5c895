"""The whole default audit against one plain forward and backward pass, and against other tools."""

from __future__ import annotations

import importlib
import math
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from benchmarks import peak
from benchmarks.harness import Row, interleaved, one_thread
from benchmarks.models import TITLES, build, plain_pass

TARGETS = {"mlp": 2.0, "resnet": 1.5, "vit": 1.3}
REPEATS = {"mlp": 7, "resnet": 7, "vit": 3}


def _audit(model: nn.Module, batch: Tensor) -> object:
    import firstlight

    return firstlight.audit(model, batch)


def _plain(name: str) -> Row:
    model, batch = build(name)
    seconds = interleaved(
        {"plain": lambda: plain_pass(model, batch), "audit": lambda: _audit(model, batch)},
        repeats=REPEATS[name],
    )
    return Row(
        f"{TITLES[name]}: audit / plain forward+backward",
        seconds["audit"] / seconds["plain"],
        TARGETS[name],
        detail=f"{seconds['audit'] * 1e3:.0f} ms against {seconds['plain'] * 1e3:.0f} ms",
    )


def _kstest_hooks(model: nn.Module, batch: Tensor, *, standardised: bool) -> None:
    """What people write: hooks on every leaf module that give scipy the whole output.

    Raw, and as the audit's second distance also with every sample divided by its root mean square.
    """
    from scipy import stats

    handles = []
    distances: list[float] = []

    def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
        z = output.detach().flatten(1)
        distances.append(stats.kstest(z.reshape(-1).numpy(), "norm").statistic)
        if standardised:
            z = z / z.square().mean(dim=1, keepdim=True).sqrt()
            distances.append(stats.kstest(z.reshape(-1).numpy(), "norm").statistic)

    for module in model.modules():
        if not list(module.children()) and not isinstance(module, nn.Identity):
            handles.append(module.register_forward_hook(hook))
    try:
        plain_pass(model, batch)
    finally:
        for handle in handles:
            handle.remove()


def _scipy(name: str) -> list[Row]:
    model, batch = build(name)
    seconds = interleaved(
        {
            "plain": lambda: plain_pass(model, batch),
            "audit": lambda: _audit(model, batch),
            "raw": lambda: _kstest_hooks(model, batch, standardised=False),
            "both": lambda: _kstest_hooks(model, batch, standardised=True),
        },
        repeats=2,
    )
    added = max(seconds["audit"] - seconds["plain"], 1e-9)
    return [
        Row(
            f"{TITLES[name]}: time added by kstest hooks on full tensors, {what} / by the audit",
            (seconds[key] - seconds["plain"]) / added,
            30.0,
            lower_is_better=False,
            detail=f"whole runs {seconds[key]:.1f} s against {seconds['audit']:.2f} s, "
            f"{seconds[key] / seconds['audit']:.1f}×",
        )
        for key, what in (("both", "raw and standardised as the audit's"), ("raw", "raw alone"))
    ]


def _memory(name: str) -> Row:
    plain, audit = peak.measure(name, "plain"), peak.measure(name, "audit")
    return Row(
        f"{TITLES[name]}: peak MB of an audit above the plain pass",
        audit - plain,
        200.0,
        detail=f"{audit:.0f} against {plain:.0f} MB resident, the library itself included",
    )


def _anyinit(model: nn.Module, batch: Tensor) -> Callable[[], object]:
    anyinit = importlib.import_module("anyinit")
    return lambda: anyinit.initialize(model, "empirical", batch)


def _torchmortem(model: nn.Module, batch: Tensor) -> Callable[[], object]:
    torchmortem = importlib.import_module("torchmortem")

    def run() -> object:
        with torchmortem.Autopsy(model) as autopsy:
            model.train()
            loss = model(batch).square().mean()
            loss.backward()
            autopsy.step(loss=loss.item())
        model.zero_grad(set_to_none=True)
        return autopsy.get_report()

    return run


def _peer(
    tool: str, make: Callable[[nn.Module, Tensor], Callable[[], object]], name: str, target: float
) -> Row:
    claim = f"{TITLES[name]}: {tool} / audit"
    model, batch = build(name)
    try:
        peer = make(model, batch)
        seconds = interleaved({"audit": lambda: _audit(model, batch), "peer": peer}, repeats=2)
    except ImportError as error:
        return Row(
            claim, math.nan, target, False, f"not installed ({error}); pip install {tool.split()[0].lower()}"
        )
    except Exception as error:  # a peer's failure is a result of this comparison, and is shown as one
        return Row(claim, math.nan, target, False, f"failed: {type(error).__name__}: {str(error)[:80]}")
    detail = f"{seconds['peer']:.2f} s against {seconds['audit']:.2f} s"
    return Row(claim, seconds["peer"] / seconds["audit"], target, False, detail)


def _import() -> Row:
    def seconds(statement: str) -> float:
        code = f"import time; t = time.process_time(); {statement}; print(time.process_time() - t)"
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        return float(done.stdout)

    best = {
        "import torch": math.inf,
        "import firstlight": math.inf,
        "import torch; import firstlight": math.inf,
    }
    for _ in range(5):
        for statement in best:
            best[statement] = min(best[statement], seconds(statement))
    both = max(best["import firstlight"], best["import torch; import firstlight"])
    detail = f"{both:.2f} s against {best['import torch']:.2f} s"
    return Row("import firstlight / import torch", both / best["import torch"], 1.10, detail=detail)


def _html() -> Row:
    model, batch = build("mlp")
    with one_thread():
        result: Any = _audit(model, batch)
        times = []
        for _ in range(3):
            start = time.process_time()
            page = result.to_html()
            times.append(time.process_time() - start)
    size = len(page.encode()) / 1000
    return Row("seconds to render the HTML of 100 layers", min(times), 1.0, detail=f"{size:.0f} kB")


def run() -> list[Row]:
    """Time and memory of an audit; about ten minutes on one core."""
    return [
        *(_plain(name) for name in TARGETS),
        *(row for name in ("mlp", "resnet") for row in _scipy(name)),
        *(_memory(name) for name in TARGETS),
        *(_peer("AnyInit (empirical)", _anyinit, name, 10.0) for name in ("mlp", "resnet")),
        *(_peer("torchmortem", _torchmortem, name, 1.0) for name in ("mlp", "resnet")),
        _import(),
        _html(),
    ]
