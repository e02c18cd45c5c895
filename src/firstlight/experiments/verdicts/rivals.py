"""Rivals: what other tools and scores say of the same network on the same batch; larger means sicker."""

from __future__ import annotations

import copy
import importlib
import math
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_NTK_SAMPLES, _ALIGNED_SAMPLES = 24, 32


def rivals(model: nn.Module, inputs: Tensor, targets: Tensor) -> dict[str, float]:
    """Every rival's score; NaN where a rival cannot score the network or is not installed.

    ``gradient ratio``: |ln| of the first weight's gradient norm over the last one's. ``NASWOT``: −ln det of the kernel
    of the activations' signs (Mellor et al., ICML 2021). ``SynFlow``: −ln Σ θ ∂R/∂θ at absolute weights on absolute
    inputs (Tanaka et al., NeurIPS 2020). ``NTK condition``: ln of the largest over the smallest eigenvalue of the
    tangent kernel of the summed logits (Chen et al., ICLR 2021). ``1 − NTK alignment``: as `ntk_misalignment`.
    ``AnyInit``: root mean square of ln of the weights' scales over those that AnyInit would write. ``torch-audit``: its
    findings after a backward pass, errors count 10.
    """
    scores: dict[str, Callable[[], float]] = {
        "gradient ratio": lambda: gradient_ratio(model, inputs, targets),
        "NASWOT": lambda: naswot(model, inputs),
        "SynFlow": lambda: synflow(model, inputs),
        "NTK condition": lambda: ntk_condition(model, inputs),
        "1 − NTK alignment": lambda: ntk_misalignment(model, inputs, targets),
        "AnyInit": lambda: anyinit_distance(model, inputs),
        "torch-audit": lambda: torch_audit_findings(model, inputs, targets),
    }
    return {name: _tried(score) for name, score in scores.items()}


def _tried(score: Callable[[], float]) -> float:
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        try:
            return float(score())
        except Exception:  # another tool's failure on a network is a missing score, whatever the failure
            return math.nan


def gradient_ratio(model: nn.Module, inputs: Tensor, targets: Tensor) -> float:
    """|ln ‖∂L/∂W₁‖ / ‖∂L/∂W_L‖| of the first and the last matrix; infinite where one of them is zero."""
    found = [(p, g) for p, g in _gradients(model, inputs, targets) if p.ndim >= 2]
    first, last = (float(g.norm()) for g in (found[0][1], found[-1][1]))
    if not (math.isfinite(first) and math.isfinite(last) and first > 0 and last > 0):
        return math.inf
    return abs(math.log(first / last))


def gradient_span(model: nn.Module, inputs: Tensor, targets: Tensor) -> float:
    """Largest minus smallest ln ‖∂L/∂W‖ over the matrices; infinite where one is zero or not finite."""
    norms = [float(g.norm()) for p, g in _gradients(model, inputs, targets) if p.ndim >= 2]
    if not all(math.isfinite(n) and n > 0 for n in norms):
        return math.inf
    return math.log(max(norms) / min(norms))


def _gradients(model: nn.Module, inputs: Tensor, targets: Tensor) -> list[tuple[Tensor, Tensor]]:
    weights = list(model.parameters())
    loss = functional.cross_entropy(model(inputs), targets)
    return list(zip(weights, torch.autograd.grad(loss, weights, materialize_grads=True), strict=True))


@torch.no_grad()
def naswot(model: nn.Module, inputs: Tensor) -> float:
    """−ln det of the samples' kernel of equal signs, over the outputs of activation modules."""
    codes: list[Tensor] = []
    kinds = (nn.ReLU, nn.Tanh, nn.GELU, nn.SiLU, nn.ELU, nn.Sigmoid)
    handles = [
        m.register_forward_hook(lambda _, __, out: codes.append((out > out.mean()).flatten(1).double()))
        for m in model.modules()
        if isinstance(m, kinds)
    ]
    try:
        model(inputs[:64])
    finally:
        for handle in handles:
            handle.remove()
    kernel = sum((c @ c.T + (1 - c) @ (1 - c).T for c in codes), torch.zeros((), dtype=torch.float64))
    return -float(torch.linalg.slogdet(kernel + 1e-6 * torch.eye(len(kernel)))[1])


def synflow(model: nn.Module, inputs: Tensor) -> float:
    """−ln Σ θ ∂R/∂θ with R the sum of the outputs, at absolute weights and inputs, in float64."""
    model = copy.deepcopy(model).double()
    with torch.no_grad():
        for p in model.parameters():
            p.abs_()
    x = inputs[:8].abs().double() if inputs.is_floating_point() else inputs[:8]
    weights = list(model.parameters())
    found = torch.autograd.grad(model(x).sum(), weights, materialize_grads=True)
    total = sum(float((p * g).sum().detach()) for p, g in zip(weights, found, strict=True))
    return -math.log(total)


def ntk_condition(model: nn.Module, inputs: Tensor) -> float:
    """Ln λ_max/λ_min of the tangent kernel of the summed logits."""
    values = torch.linalg.eigvalsh(_tangent_kernel(model, model(inputs[:_NTK_SAMPLES]).sum(1)))
    return math.log(float(values[-1])) - math.log(max(float(values[0]), 1e-12 * float(values[-1]), 1e-300))


def ntk_misalignment(model: nn.Module, inputs: Tensor, targets: Tensor) -> float:
    """1 − A, with A = ⟨HKH, HYYᵀH⟩/(‖HKH‖ ‖HYYᵀH‖) between the tangent kernel K and the kernel YYᵀ of the classes.

    K is that of one contrast, the even classes' logits minus the odd ones'. H takes the mean over the samples out, and
    so what moves all samples alike. Plain gradient descent learns the part of the targets along an eigenvector of K at
    the rate of its eigenvalue (Arora et al., ICML 2019); A is small where what moves first is not the classes. Where K
    is constant over the samples, A is 0 (Cortes, Mohri & Rostamizadeh, JMLR 2012).
    """
    logits = model(inputs[:_ALIGNED_SAMPLES])
    contrast = 1.0 - 2.0 * (torch.arange(logits.shape[1], device=logits.device) % 2).to(logits.dtype)
    kernel = _tangent_kernel(model, logits @ contrast)
    classes = functional.one_hot(targets[: len(logits)]).double()
    classes = classes - classes.mean(0)
    kernel = kernel - kernel.mean(0)
    kernel = kernel - kernel.mean(1, keepdim=True)
    ideal = classes @ classes.T
    size = float(kernel.norm() * ideal.norm())
    return 1.0 - float((kernel * ideal).sum()) / size if size > 0 else 1.0


def _tangent_kernel(model: nn.Module, outputs: Tensor) -> Tensor:
    """Products of the gradients of each two outputs, in float64."""
    weights = list(model.parameters())
    rows = []
    for output in outputs:
        found = torch.autograd.grad(output, weights, retain_graph=True, materialize_grads=True)
        rows.append(torch.cat([g.flatten() for g in found]).double())
    jacobian = torch.stack(rows)
    return jacobian @ jacobian.T


def anyinit_distance(model: nn.Module, inputs: Tensor) -> float:
    """Root mean square of ln(scale/AnyInit's scale) over the matrices."""
    anyinit: Any = importlib.import_module("anyinit")
    other = copy.deepcopy(model)
    anyinit.initialize(other, "empirical", inputs, seed=0)
    logs = []
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        if mine.ndim >= 2:
            logs.append(math.log(max(float(mine.norm()), 1e-30) / max(float(theirs.norm()), 1e-30)))
    return math.sqrt(math.fsum(v * v for v in logs) / len(logs))


def torch_audit_findings(model: nn.Module, inputs: Tensor, targets: Tensor) -> float:
    """Warnings, and errors ten times, of torch-audit's static and backward phases."""
    tool: Any = importlib.import_module("torch_audit")
    other = copy.deepcopy(model)
    functional.cross_entropy(other(inputs), targets).backward()
    grave = {"WARN": 1.0, "ERROR": 10.0, "FATAL": 10.0}
    optimiser = torch.optim.SGD(other.parameters(), lr=0.01)
    total = 0.0
    for phase in ("static", "init", "backward"):
        result = tool.audit(
            other, phase=phase, batch=inputs, optimizer=optimiser, suppress_internal_errors=True
        )
        total += sum(grave.get(str(f.severity.value), 0.0) for f in result.findings)
    return total
