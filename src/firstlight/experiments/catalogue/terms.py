"""Rows of terms that hold a start during training: each at numbers that are known by hand."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import nn

from firstlight import recipes
from firstlight.experiments.catalogue.entry import entry, generator
from firstlight.experiments.catalogue.units import only
from firstlight.experiments.claim import compared, decided
from firstlight.experiments.findings import Findings
from firstlight.experiments.study import Settings


def _normal(settings: Settings, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=generator(settings))


def cauchy_schwarz(settings: Settings) -> Findings:
    """[6]: n‖WᵀW‖² − ‖W‖⁴ is the sum of squared differences of the squared singular values."""
    values = (0.5, 1.0, 2.0)
    basis = torch.linalg.qr(_normal(settings, 7, 7))[0][: len(values)]
    w = torch.diag(torch.tensor(values, dtype=torch.float64)) @ basis
    known = sum((a * a - b * b) ** 2 for i, a in enumerate(values) for b in values[:i])
    return only(
        compared("singular values ½, 1, 2", ours=float(recipes.cauchy_schwarz(w)), error=0.0, reference=known,
                 tolerance=1e-9, paper="n‖WᵀW‖² − ‖W‖⁴", why="by hand: Σ (σ_i² − σ_j²)²"),
        compared("orthonormal rows", ours=float(recipes.cauchy_schwarz(basis)), error=0.0, reference=0.0,
                 tolerance=1e-9, paper="0", why="all singular values are equal"),
    )  # fmt: skip


def group_orthogonality(settings: Settings) -> Findings:
    """[29]: Σ‖W_gW_gᵀ − I‖² of random groups."""
    r, d, groups = 8, 50, 500
    w = _normal(settings, groups * r, d) / math.sqrt(d)
    parts = torch.tensor([float(recipes.group_orthogonality(part)) for part in w.split(r)])
    return only(
        compared("mean over 500 groups of 8 random rows",
                 ours=float(recipes.group_orthogonality(w, groups=groups)) / groups,
                 error=float(parts.std()) / math.sqrt(groups), reference=r * (r + 1) / d,
                 paper="Σ‖W_gW_gᵀ − I‖²", why="by hand: r(r + 1)/d for normal rows of variance 1/d"),
    )  # fmt: skip


def norm_loss(settings: Settings) -> Findings:
    """[32]: Σ(1 − ‖w‖)²."""
    w = torch.tensor([[3.0, 4.0], [0.0, 1.0], [0.6, 0.8]], dtype=torch.float64)
    return only(compared("rows of norm 5, 1 and 1", ours=float(recipes.norm_loss(w)), error=0.0, reference=16.0,
                         tolerance=1e-12, paper="Σ(1 − ‖w‖)²", why="by hand"))  # fmt: skip


def nuclear(settings: Settings) -> Findings:
    """[34]: ½(‖J_g‖² + ‖J_h‖²) is at least the nuclear norm, and meets it where the factors are balanced."""
    a, b = _normal(settings, 5, 4), _normal(settings, 10, 6)[4:8]
    u, s, v = torch.linalg.svd(a @ b, full_matrices=False)
    exact = float(s.sum())

    def surrogate(g: torch.Tensor, h: torch.Tensor) -> float:
        zeros = torch.zeros(40_000, 6, dtype=torch.float64)
        found = recipes.nuclear_surrogate(
            lambda t: t @ g.T, lambda t: t @ h.T, zeros, generator=generator(settings)
        )
        return float(found)

    plain = surrogate(a, b)
    return only(
        compared("balanced factors: surrogate", ours=surrogate(u * s.sqrt(), s.sqrt()[:, None] * v), error=0.0,
                 reference=exact, tolerance=0.02 * exact, paper="‖J‖_* ≤ ½(‖J_g‖² + ‖J_h‖²)",
                 why="40 000 probes scatter by about 1 %"),
        decided("random factors: surrogate over nuclear norm", holds=plain > exact, ours=plain / exact, reference=1.0,
                paper="at least 1", why="40 000 probes against singular values"),
    )  # fmt: skip


def decoupling(settings: Settings) -> Findings:
    """[39]: with ½λ‖logits‖² a margin ends where λy = 1/(1 + e^y)."""
    from scipy.optimize import brentq

    claims = []
    for strength in (0.01, 0.1, 1.0):
        y = torch.zeros(1, 1, dtype=torch.float64, requires_grad=True)
        for _ in range(50):
            loss = nn.functional.softplus(-y).mean() + strength * recipes.spectral_decoupling(y)
            (first,) = torch.autograd.grad(loss, y, create_graph=True)
            (second,) = torch.autograd.grad(first, y)
            y = (y - first / second).detach().requires_grad_()
        known = float(brentq(lambda m, s=strength: s * m - 1 / (1 + math.exp(m)), 0, 50))
        claims.append(
            compared(f"λ = {strength:g}: margin after training", ours=float(y.detach()), error=0.0, reference=known,
                     tolerance=1e-8, paper="½λ‖logits‖²", why="the closed form's root, by another solver")
        )  # fmt: skip
    return only(*claims)


def spectral(settings: Settings) -> Findings:
    """[61]: Σ(σ₁^k − 1)², by power iteration, against singular values."""
    w = _normal(settings, 60, 40) / 20
    first = float(torch.linalg.svdvals(w)[0])
    later = 1.5 * w[torch.randperm(60, generator=generator(settings))] + 0.2
    start = sorted(w.flatten().tolist())
    known = (
        sum((a - b) ** 2 for a, b in zip(sorted(later.flatten().tolist()), start, strict=True)) / w.numel()
    )
    return only(
        *(
            compared(f"k = {power}", ours=float(recipes.spectral_deviation(w, power=power)), error=0.0,
                     reference=(first**power - 1) ** 2, tolerance=1e-3, paper="(σ₁^k − 1)²",
                     why="60 power iterations against an SVD")
            for power in (1, 2)
        ),
        compared("entries of a weight and of its start: squared Wasserstein distance",
                 ours=float(recipes.distance_to_start(later, torch.tensor(start, dtype=torch.float64))), error=0.0,
                 reference=known, tolerance=1e-9, paper="sorted weights", why="by sorting both in plain Python"),
    )  # fmt: skip


def energy(settings: Settings) -> Findings:
    """[73]: hyperspherical energy of points that are spread evenly on a circle."""
    claims = []
    for n in (3, 5):
        angle = 2 * math.pi * torch.arange(n, dtype=torch.float64) / n
        w = torch.stack([angle.cos(), angle.sin()], 1)
        known = sum((2 * math.sin(math.pi * k / n)) ** -2 for k in range(1, n)) / (n - 1)
        claims.append(
            compared(f"{n} points, power 2", ours=float(recipes.hyperspherical_energy(w, power=2)), error=0.0,
                     reference=known, tolerance=1e-9, why="by hand: chords of a regular polygon")
        )  # fmt: skip
    return only(*claims)


def sensitivity(settings: Settings) -> Findings:
    """[78]: how far a neuron moves when its input is disturbed."""
    layer = nn.Linear(6, 5).double()
    model = nn.Sequential(layer, nn.Linear(5, 2).double())
    x, delta = _normal(settings, 8, 6), 0.1 * _normal(settings, 16, 6)[8:]
    with recipes.hold(model, "sensitivity", layers=["0"]) as held:
        model(x)
        value = float(held(x + delta).detach())
    known = float((delta @ layer.weight.T).abs().mean().detach())
    return only(compared("a linear layer", ours=value, error=0.0, reference=known, tolerance=1e-9,
                         why="by hand: mean |W δ|"))  # fmt: skip


_entry = partial(entry, source="catalogue of terms")

ENTRIES = (
    _entry(
        6, "orthogonality by the inequality of Cauchy and Schwarz", "recipes.cauchy_schwarz", cauchy_schwarz
    ),
    _entry(
        29, "orthogonality within groups", "recipes.hold, recipes.group_orthogonality", group_orthogonality
    ),
    _entry(32, "norms of weight vectors", "recipes.hold, recipes.norm_loss", norm_loss),
    _entry(
        34, "a surrogate of the Jacobian's nuclear norm", "recipes.hold, recipes.nuclear_surrogate", nuclear
    ),
    _entry(39, "spectral decoupling", "recipes.hold, recipes.spectral_decoupling", decoupling),
    _entry(
        61, "deviation of the largest singular value", "recipes.hold, recipes.spectral_deviation", spectral
    ),
    _entry(73, "hyperspherical energy", "recipes.hold, recipes.hyperspherical_energy", energy),
    _entry(78, "sensitivity of neurons", "recipes.hold", sensitivity),
)
