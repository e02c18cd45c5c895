"""Rows of measures of representations, normalisers, joins and residual networks that a path controls."""

from __future__ import annotations

import math
from functools import partial

import torch
from scipy.special import iv

from firstlight import activations, measure
from firstlight.builders.blocks import ControlledResidual, Divisive, Fractal, SingleScale
from firstlight.experiments.catalogue.entry import Curve, entry, generator
from firstlight.experiments.catalogue.units import only
from firstlight.experiments.claim import Claim, compared, decided
from firstlight.experiments.findings import Findings
from firstlight.experiments.study import Settings, Size
from firstlight.render.axis import Axis


def folding(settings: Settings) -> Findings:
    """[16]: how often a network folds a line: 1 − max d_H/Σd_H."""
    t = torch.linspace(0, 1, 501, dtype=torch.float64)[:, None]
    draw = generator(settings)
    line = torch.randn(1, 8, dtype=torch.float64, generator=draw) * (1 - t)
    line = line + torch.randn(1, 8, dtype=torch.float64, generator=draw) * t
    mixed = torch.randn(8, 40, dtype=torch.float64, generator=draw)
    tent = 1 - (2 * t - 1).abs()
    twice = 1 - (2 * tent - 1).abs()
    return only(
        *(
            compared(
                name,
                ours=measure.space_folding(x),
                error=0.0,
                reference=known,
                why="by hand: every turn is counted",
            )
            for name, x, known in (
                ("one layer folds no line", line @ mixed, 0.0),
                ("one tent", tent - 0.75, 0.5),
                ("a tent of a tent", twice - 0.75, 0.75),
            )
        )
    )


def patterns(settings: Settings) -> Findings:
    """[27]: the share of units whose sign differs is the angle between inputs over π."""
    n = 400_000
    u, v = torch.randn(2, n, dtype=torch.float64, generator=generator(settings))
    claims = []
    for c in (0.0, 0.5, 0.95):
        both = torch.stack([u, c * u + math.sqrt(1 - c * c) * v])
        p = math.acos(c) / math.pi
        claims.append(
            compared(f"correlation {c:g}: Hamming distance", ours=measure.activation_patterns(both).distance,
                     error=math.sqrt(p * (1 - p) / n), reference=p, why="arccos(c)/π")
        )  # fmt: skip
    gradients = torch.tensor(
        [[1.0, 0.0], [-0.5, math.sqrt(0.75)], [-0.5, -math.sqrt(0.75)]], dtype=torch.float64
    )
    claims.append(
        compared("three gradients at 120°: confusion", ours=measure.gradient_confusion(gradients).bound,
                 error=0.0, reference=0.5, tolerance=1e-12, paper="⟨∇f_i, ∇f_j⟩ ≥ −η", why="by hand")
    )  # fmt: skip
    return only(*claims)


def dc_share(settings: Settings) -> Findings:
    """[31]: the part of the signal that all inputs share."""
    y = torch.randn(1_000_000, dtype=torch.float64, generator=generator(settings)).relu()
    return only(
        compared("ReLU", ours=float(activations.moments(activations.get("relu"), 1.0).dc_share), error=0.0,
                 reference=1 / math.pi, tolerance=1e-12, paper="1/π", why="closed form"),
        compared("ReLU, a million draws", ours=measure.dc_share(y), error=6e-4, reference=1 / math.pi,
                 why="a second way; the error is that of (mean)²/second moment"),
    )  # fmt: skip


def entropy(settings: Settings) -> Findings:
    """[55]: the entropy of the spectrum of unit vectors."""
    claims = []
    for c in (0.0, 0.3, 0.99):
        h = torch.tensor([[1.0, 0.0], [c, math.sqrt(1 - c * c)]], dtype=torch.float64)
        known = -sum(p * math.log(p) for p in ((1 + c) / 2, (1 - c) / 2))
        claims.append(
            compared(f"two directions of cosine {c:g}", ours=measure.von_neumann_entropy(h), error=0.0, reference=known,
                     tolerance=1e-10, why="by hand: eigenvalues (1 ± c)/2")
        )  # fmt: skip
    return only(*claims)


def massive(settings: Settings) -> Findings:
    """[93]: the fit of how massive activations grow finds its curve."""
    truth = measure.MassiveFit(120.0, 0.35, 35.0, 4e-4, 1.3, 1.0)
    steps = [0, *(2**k for k in range(9)), *range(1000, 20_001, 1000)]
    noise = (torch.randn(len(steps), dtype=torch.float64, generator=generator(settings)) * 0.3).tolist()
    fit = measure.fit_massive(steps, [truth(t) + e for t, e in zip(steps, noise, strict=True)])
    rows = [
        {"step": t, "curve": kind, "ratio": f(t)}
        for kind, f in (("true", truth), ("fitted", fit))
        for t in steps
    ]
    away = max(abs(fit(t) - truth(t)) for t in (500.0, 4500.0, 15_000.0))
    n = 100_000
    entries = torch.randn(n, dtype=torch.float64, generator=generator(settings))
    entries[0] = 1000.0
    median = 0.6744897501960817
    return Findings(
        rows,
        (
            decided("largest error of the fitted curve", holds=away < 0.9, ours=away, reference=0.0,
                    why="noise of .3 at 30 steps; the line is three deviations"),
            compared("an entry of 1000 among normal ones: largest over median", ours=measure.top_over_median(entries),
                     error=1000 / median**2 * 0.5 / math.sqrt(n) / 0.6355, reference=1000 / median,
                     why="the median of |G| is .6745, where its density is .6355"),
        ),
    )  # fmt: skip


def diffusion(settings: Settings) -> Findings:
    """[103]: the entropy of a diffusion over samples counts clusters."""
    x = (torch.eye(4, dtype=torch.float64) * 1e4).repeat_interleave(8, 0)
    return only(
        compared("four far clusters of eight", ours=measure.diffusion_spectral_entropy(x), error=0.0, reference=2.0,
                 tolerance=1e-9, why="log₂ 4")
    )  # fmt: skip


def information(settings: Settings) -> Findings:
    """[105]: information of layers whose information is known."""
    labels = torch.arange(8).repeat(16)
    layers = {
        "a layer that tells the class": (labels.double()[:, None] * torch.ones(3, dtype=torch.float64), 3.0),
        "a layer that tells half of it": ((labels >= 4).double()[:, None], 1.0),
        "a constant layer": (torch.ones(128, 3, dtype=torch.float64), 0.0),
    }
    return only(
        *(
            compared(f"{name}, by {estimator}: bits of the label",
                     ours=measure.mutual_information(x, labels, estimator=estimator).labels, error=0.0, reference=known,
                     tolerance=1e-9, why="by hand")
            for name, (x, known) in layers.items() for estimator in ("bins", "kernel")
        )
    )  # fmt: skip


def kurtosis(settings: Settings) -> Findings:
    """[101]: excess kurtosis of a sample, and a normaliser of one scale that keeps it."""
    z = torch.randn(1_000_000, dtype=torch.float64, generator=generator(settings))
    found = float(measure.moments(z.relu()).kurtosis)
    p = 1 / (2 * math.pi)
    second, mean = 0.5, math.sqrt(p)
    variance = second - mean**2
    third = 2 * math.sqrt(p)
    fourth = 1.5 - 4 * mean * third + 6 * mean**2 * second - 3 * mean**4
    rows = math.sqrt(7.0) * z.reshape(-1, 1000)
    one = SingleScale(1.3).module(1000).double()(rows).detach()
    gains = torch.linspace(0.1, 3.0, 1000, dtype=torch.float64)
    each = rows / rows.square().mean(1, keepdim=True).sqrt() * gains
    return only(
        compared("ReLU of a million normal entries", ours=found, error=0.02, reference=fourth / variance**2 - 3,
                 why="closed form; the error is that of a fourth moment"),
        compared("single-scale RMS norm: second moment behind it", ours=float(one.square().mean()), error=0.0,
                 reference=1.69, tolerance=1e-6, paper="one learned scale", why="s² at any q; s in float32"),
        compared("single-scale RMS norm: excess kurtosis of normal entries", ours=float(measure.moments(one).kurtosis),
                 error=math.sqrt(24e-6), reference=0.0, tolerance=0.015, paper="stays",
                 why="one scale for all units; rows of one length take 6/1000"),
        compared("gains of .1 to 3, one for each unit: excess kurtosis", ours=float(measure.moments(each).kurtosis),
                 error=0.02, reference=3 * float(gains.pow(4).mean() / gains.square().mean() ** 2) - 3,
                 tolerance=0.006 * 5, why="closed form: 3 E g⁴/(E g²)² − 3"),
    )  # fmt: skip


def divisive(settings: Settings) -> Findings:
    """[17]: divisive normalisation: its second moment against drawn entries."""
    claims = []
    for beta, gamma, alpha, epsilon in ((1.0, 1.0, 2.0, 0.5), (0.5, 2.0, 1.0, 0.7)):
        block = Divisive(beta=beta, gamma=gamma, alpha=alpha, epsilon=epsilon)
        width = 1000
        z = torch.randn(640, width, dtype=torch.float64, generator=generator(settings))
        y = block.module(width).double()(z).detach()
        formula = z[0] / (beta + gamma * z[0].abs().pow(alpha).mean()).pow(epsilon)
        away = float((y[0] - formula).abs().max())
        squares = y.square().mean(1)
        claims.append(
            compared(f"β = {beta:g}, γ = {gamma:g}, α = {alpha:g}, ε = {epsilon:g}: second moment",
                     ours=float(squares.mean()), error=float(squares.std()) / math.sqrt(len(z)),
                     reference=block.second_moment(1.0), tolerance=1 / width,
                     why="the module on 640 rows of 1000 units against theory of wide layers, whose next order is "
                     "1/width")
        )  # fmt: skip
        claims.append(
            decided("its module: largest distance to the formula", holds=away < 1e-6, ours=away, reference=0.0,
                    paper="z/(β + Σγ|z|^α)^ε", why="1000 units; β and γ are kept in float32")
        )  # fmt: skip
    return only(*claims)


def signatures(settings: Settings) -> Findings:
    """[63]: residual networks that a path controls have signature kernels."""
    nets = settings.sizes["nets"]
    steps, width = 24, 200
    ends = torch.tensor([[1.0, 0.5], [0.5, 1.0]], dtype=torch.float64)
    paths = torch.linspace(0, 1, steps + 1, dtype=torch.float64)[None, :, None] * ends[:, None, :]
    claims = []
    for shared, limit, words in ((True, float(iv(0, 2.0)), "I₀(2√⟨a,b⟩)"), (False, math.e, "e^{⟨a,b⟩}")):
        exact = (
            sum(math.comb(steps, k) ** 2 / steps ** (2 * k) for k in range(steps + 1))
            if shared
            else (1 + 1 / steps) ** steps
        )
        values = []
        for seed in range(nets):
            draw = torch.Generator().manual_seed(settings.seed + seed)
            u, v = (
                ControlledResidual(width, 2, steps=steps, shared=shared, generator=draw)
                .double()(paths)
                .detach()
            )
            values.append(float(u @ v) / width)
        found = torch.tensor(values)
        claims.append(
            compared(f"{'shared' if shared else 'own'} weights, ⟨a, b⟩ = 1", ours=float(found.mean()),
                     error=float(found.std()) / math.sqrt(nets), reference=exact, tolerance=4 * exact / width,
                     paper=f"{words} = {limit:.4g}", why=f"the reference is the kernel at {steps} steps")
        )  # fmt: skip
    return only(*claims)


def joins(settings: Settings) -> Findings:
    """[97]: a mean of fractal paths loses the signal, and a gain keeps it."""
    rows: list[dict[str, object]] = []
    claims: list[Claim] = []
    for columns, quoted in enumerate((0.98, 0.49, 0.31, 0.27, 0.27), start=1):
        plain, kept = Fractal(columns, gain=1.0).second_moment(1.0), Fractal(columns).second_moment(1.0)
        built = torch.tensor([_behind(columns, settings.seed + net) for net in range(12)])
        rows += [
            {"join": "mean", "columns": columns, "q": plain},
            {"join": "with a gain", "columns": columns, "q": kept},
        ]
        claims += [
            compared(f"{columns} columns: q behind a mean", ours=plain, error=0.0, reference=quoted, tolerance=0.021,
                     paper="(1 + q²)/4 per branch", why="the quoted figures were measured at finite width"),
            compared(f"{columns} columns: q with the gain", ours=kept, error=0.0, reference=1.0, tolerance=1e-12,
                     why="the gain is solved for"),
            compared(f"{columns} columns: q with the gain, 12 modules of width 256", ours=float(built.mean()),
                     error=float(built.std()) / math.sqrt(len(built)), reference=1.0,
                     tolerance=0.02, why="a second way; columns share their inputs, which moves q by some 1/width"),
        ]  # fmt: skip
    return Findings(rows, tuple(claims))


def _behind(columns: int, seed: int) -> float:
    """The second moment of the outputs of a built fractal, for normal inputs."""
    draw = torch.Generator().manual_seed(seed)
    module = Fractal(columns).module(256, generator=draw)
    with torch.no_grad():
        return float(module(torch.randn(64, 256, generator=draw)).square().mean())


_entry = partial(entry, source="catalogue of measures and blocks")

ENTRIES = (
    _entry(16, "how often a network folds a line", "measure.space_folding", folding),
    _entry(17, "divisive normalisation", "builders.blocks.Divisive, builders.blocks.GDN", divisive),
    _entry(27, "signs of units differ as the angle says", "measure.activation_patterns", patterns),
    _entry(31, "the part of the signal that all inputs share", "measure.dc_share", dc_share),
    _entry(55, "entropy of directions", "measure.von_neumann_entropy", entropy),
    _entry(63, "networks that a path controls have signature kernels", "builders.blocks.ControlledResidual", signatures,
           sizes={"nets": Size(40, 2000, low=20)}),
    _entry(93, "how massive activations grow", "measure.fit_massive, measure.top_over_median", massive,
           curve=Curve(x=("step", Axis("step")), y=("ratio", Axis("largest over median")), by="curve")),
    _entry(97, "a mean of fractal paths loses the signal", "builders.blocks.Fractal", joins,
           curve=Curve(x=("columns", Axis("columns")), y=("q", Axis("q")), by="join")),
    _entry(101, "excess kurtosis, and a norm of one scale", "measure.moments, builders.blocks.SingleScaleRMSNorm",
           kurtosis),
    _entry(103, "diffusion counts clusters", "measure.diffusion_spectral_entropy", diffusion),
    _entry(105, "information of layers", "measure.mutual_information", information),
)  # fmt: skip
