"""Rows of single activations: closed forms, quoted figures, and sums over drawn entries as a second way."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from scipy.special import zeta
from torch import Tensor

from firstlight import activations, theory
from firstlight.activations.modules import AdaptiveSwish, StepActivation, TopK, top_k_moments
from firstlight.experiments.catalogue.entry import Curve, entry, generator
from firstlight.experiments.claim import Claim, compared, decided
from firstlight.experiments.findings import Findings
from firstlight.experiments.study import Settings
from firstlight.files.plain_data import Record
from firstlight.network import RandomNetwork
from firstlight.render.axis import Axis

_GRID = torch.linspace(-8, 8, 801, dtype=torch.float64)


def same(name: str, formula: Callable[[Tensor], Tensor], printed: str, tolerance: float = 1e-12) -> Claim:
    """That an entry of the registry is a printed formula, at 801 points of [−8, 8]."""
    away = float((activations.get(name)(_GRID) - formula(_GRID)).abs().max())
    return decided(f"{name}: largest distance to its formula", holds=away <= tolerance, ours=away, reference=0.0,
                   paper=printed, why=f"801 points of [−8, 8], float64; the line is {tolerance:g}")  # fmt: skip


def only(*claims: Claim) -> Findings:
    """Findings without rows."""
    return Findings((), claims)


def mittag_leffler(settings: Settings) -> Findings:
    """[2]: one function of two numbers holds sigmoid and tanh."""
    return only(
        same("mittag_sigmoid(0)", torch.sigmoid, "sigmoid = E₀,₁(−e^{−z})"),
        same("mittag_tanh(2)", torch.tanh, "tanh = z·E₂,₂(z²)/E₂,₁(z²)"),
    )


def steps(settings: Settings) -> Findings:
    """[8]: an activation that is a trained step matrix holds ReLU."""
    module = StepActivation((0.0,), (0.0, 1.0))
    away = float((module(_GRID.float()).detach() - torch.relu(_GRID.float())).abs().max())
    return only(
        decided("steps 0 and 1 at 0: distance to ReLU", holds=away == 0.0, ours=away, reference=0.0,
                paper="holds ReLU", why="801 points, float32"),
    )  # fmt: skip


def table(settings: Settings) -> Findings:
    """[14]: a table of all activations."""
    rows = [
        {"activation": one.row.name, "second moment": one.row.second, "slope": one.row.slope,
         "mean": one.row.mean, "DC share": one.row.dc_share}
        for one in theory.activation_table()
    ]  # fmt: skip
    return Findings(
        rows,
        (
            decided("activations with moments, edge and class", holds=len(rows) >= 50, ours=len(rows), reference=400,
                    paper="a survey of 400", why="the survey lists them; a catalogue to test on is broad, not whole",
                    otherwise="differs"),
        ),
    )  # fmt: skip


def adaptive(settings: Settings) -> Findings:
    """[21]: ASH passes a wanted share of entries, whatever their mean and scale."""
    z = torch.randn(8, 50_000, dtype=torch.float64, generator=generator(settings))
    claims = []
    for scale, shift in ((1.0, 0.0), (50.0, 7.0)):
        out = AdaptiveSwish(0.2, alpha=1e4).double()(scale * z + shift)
        share = float((out.detach().abs() > 1e-6 * scale).double().mean())
        claims.append(
            compared(f"entries {scale:g}·N(0, 1) + {shift:g}: share that passes", ours=share,
                     error=math.sqrt(0.16 / z.numel()), reference=0.2, tolerance=2e-3, paper="top k %",
                     why="the tolerance is the width of the gate itself")
        )  # fmt: skip
    hard = torch.clamp(_GRID, 0, 2) * torch.clamp((1.5 * (_GRID - 0.3) + 3) / 6, 0, 1)
    away = float((activations.get("hard_ash(1.5, 0.1, 0.2)")(_GRID) - hard).abs().max())
    return only(
        *claims,
        decided("hard_ash(1.5, 0.1, 0.2): largest distance to its formula", holds=away < 1e-12, ours=away,
                reference=0.0, paper="clip(x, 0, 2)·hard_sigmoid", why="801 points of [−8, 8], float64"),
    )  # fmt: skip


def mish(settings: Settings) -> Findings:
    """[51]: Mish."""
    return only(
        same("mish", lambda x: x * torch.tanh(torch.nn.functional.softplus(x)), "x·tanh(softplus x)", 1e-11)
    )


def adaptive_parametric(settings: Settings) -> Findings:
    """[58]: APA and AGLU."""
    return only(
        same("apa(0.5, 2)", lambda x: (0.5 * torch.exp(-2 * x) + 1) ** -2.0, "(λe^{−κz} + 1)^{−1/λ}"),
        same("aglu(0.5, 2)", lambda x: x * (0.5 * torch.exp(-2 * x) + 1) ** -2.0, "z·APA"),
        same("apa(1, 1)", torch.sigmoid, "λ = κ = 1: sigmoid"),
    )


def drelu(settings: Settings) -> Findings:
    """[60]: the product of two ReLU units."""
    moments = activations.gate("drelu").moments(1.7)
    u, v = torch.randn(2, 1_000_000, dtype=torch.float64, generator=generator(settings)).relu() * math.sqrt(
        1.7
    )
    h = u * v
    return only(
        compared("second moment / q²", ours=moments.second / 1.7**2, error=0.0, reference=0.25, tolerance=1e-12,
                 paper="¼σ²σ²", why="closed form"),
        compared("share of zeros", ours=moments.zeros, error=0.0, reference=0.75, tolerance=1e-12, paper="¾",
                 why="closed form"),
        compared("second moment / q², a million draws", ours=float(h.square().mean()) / 1.7**2,
                 error=float(h.square().std()) / 1000 / 1.7**2, reference=0.25, why="a second way"),
    )  # fmt: skip


def rectified_cubic(settings: Settings) -> Findings:
    """[68]: CRReLU, with the formula of a public implementation of the paper."""
    return only(
        same(
            "crrelu(0.02)",
            lambda x: x.relu() + 0.02 * x * torch.exp(-x.square() / 2),
            "max(0, x) + εxe^{−x²/2}",
        )
    )


def hard_backward(settings: Settings) -> Findings:
    """[69]: HeLU's backward lets gradients pass where its forward is zero, so that they grow with depth."""
    phi = activations.get("helu(0.05)")
    layer = theory.LayerMap.of(RandomNetwork(depth=1, width=1, activation=phi, sigma_w=math.sqrt(2)))
    per_layer = 2 * float(torch.special.ndtr(torch.tensor(0.05, dtype=torch.float64)))
    ours = float(layer.chi(1.0))
    return only(
        compared("χ₁ at q = 1 with He's scale", ours=ours, error=0.0, reference=per_layer, tolerance=1e-9,
                 paper="2Φ(α/√q)", why="the slope that the backward really uses"),
        compared("growth over 100 layers", ours=ours**100, error=0.0, reference=49.9, tolerance=0.1, paper="×49.9",
                 why="three digits"),
    )  # fmt: skip


def snake(settings: Settings) -> Findings:
    """[85]: the variance of Snake in closed form."""
    claims = []
    for a in (0.5, 1.0, 2.0):
        found = activations.moments(activations.get(f"snake({a})"), 1.0)
        known = 1 + (1 + math.exp(-8 * a * a) - 2 * math.exp(-4 * a * a)) / (8 * a * a)
        claims.append(
            compared(f"a = {a:g}: Var φ", ours=float(found.second - found.mean**2), error=0.0, reference=known,
                     tolerance=1e-10, paper="1 + (1 + e^{−8a²} − 2e^{−4a²})/8a²", why="quadrature against closed form")
        )  # fmt: skip
    return only(*claims)


def top_k(settings: Settings) -> Findings:
    """[100]: keeping the k largest of n units: moments and gradient."""
    n, share = 4000, 0.1
    z = torch.randn(200, n, dtype=torch.float64, generator=generator(settings))
    known = top_k_moments(share, q=1.0)
    h = TopK(int(share * n))(z)
    second = h.square().mean(1)
    return only(
        compared("second moment of 10 % of 4000 units", ours=float(second.mean()),
                 error=float(second.std()) / math.sqrt(200), reference=known.second, tolerance=2 / n,
                 why="the tolerance is the finite number of units"),
        compared("share of the squared gradient that passes", ours=known.slope, error=0.0, reference=share,
                 paper="k/n", why="exact"),
    )  # fmt: skip


def smooth(settings: Settings) -> Findings:
    """[102]: SAU is a leaky ReLU smoothed by a normal density."""

    def formula(x: Tensor) -> Tensor:
        cdf = torch.special.ndtr(2 * x)
        density = torch.exp(-2 * x.square()) / math.sqrt(2 * math.pi)
        return 0.2 * x + 0.8 * (x * cdf + density / 2)

    return only(same("sau(0.2, 2)", formula, "αx + (1 − α)[xΦ(βx) + p(βx)/β]"))


def hermite(settings: Settings) -> Findings:
    """[95]: a Hermite series with both moments 1 in the limit, renormalised when cut."""
    rows: list[Record] = []
    zeta3 = float(zeta(3))
    for degree in (3, 10, 30, 100, 300, 1000):
        # the printed coefficients: c₀² = 6(π²/6 − ζ(3))/π² and c_k² = 6/(π²k³)
        squares = [6 * (math.pi**2 / 6 - zeta3) / math.pi**2]
        squares += [6 / math.pi**2 / k**3 for k in range(1, degree + 1)]
        rows.append(
            {
                "degree": degree,
                "Eφ²": sum(squares),
                "Eφ'²": sum(k * square for k, square in enumerate(squares)),
            }
        )
    held = activations.get("hermite_series(1000, 0)").module(learnable=True)
    deep = float((held.get_parameter("coefficients").detach().double().square() * torch.arange(1001)).sum())
    cut = activations.moments(activations.get("hermite_series(3, 0)"), 1.0)
    kept = activations.moments(activations.get("hermite_series(3, 2)"), 1.0)
    claims = (
        compared("degree 3: Eφ²", ours=float(cut.second), error=0.0, reference=0.976, tolerance=6e-4,
                 why="three digits"),
        compared("degree 3: Eφ'²", ours=float(cut.slope), error=0.0, reference=0.827, tolerance=6e-4,
                 why="three digits"),
        compared("degree 3, renormalised: Eφ²", ours=float(kept.second), error=0.0, reference=1.0, tolerance=1e-9,
                 paper="1", why="edge of chaos at q = 1"),
        compared("degree 3, renormalised: Eφ'²", ours=float(kept.slope), error=0.0, reference=1.0, tolerance=1e-9,
                 paper="1", why="edge of chaos at q = 1"),
        compared("degree 1000: what Eφ'² lacks", ours=1 - deep, error=0.0,
                 reference=1 - rows[-1]["Eφ'²"], tolerance=1e-6, paper="→ 0",
                 why="Σ k c_k² of the coefficients of the module against that of the printed ones, in float32"),
    )  # fmt: skip
    return Findings(rows, claims)


def quantised(settings: Settings) -> Findings:
    """[88]: the noise that rounding signals and gradients adds, per layer."""
    published = {1: 0.3634, 2: 0.1188, 3: 0.03744, 4: 0.01154, 5: 0.003495}
    rows: list[dict[str, object]] = []
    claims: list[Claim] = []
    for bits, error in published.items():
        ours = activations.uniform_quantiser(bits).error
        rows.append({"bits": bits, "error": ours})
        claims.append(
            compared(f"{bits} bits: noise of the best even rounding of N(0, 1)", ours=ours, error=0.0, reference=error,
                     tolerance=error * 5e-4, paper=f"{error:g} (Max 1960)", why="four digits")
        )  # fmt: skip
    claims += _rounded(4, settings)
    return Findings(rows, tuple(claims))


def _rounded(bits: int, settings: Settings) -> list[Claim]:
    """The noise that ``predict(bits=…)`` says, beside networks whose pre-activations are rounded."""
    depth, width, sigma_w = 6, 512, 1.5
    net = RandomNetwork(depth=depth, width=width, activation="tanh", sigma_w=sigma_w)
    profile = theory.predict(net, bits=bits)
    step = activations.uniform_quantiser(bits).step
    draw = generator(settings)
    found = []
    for _ in range(16):
        clean = sigma_w * torch.randn(width, dtype=torch.float64, generator=draw)
        noisy, row = clean, []
        for layer in range(depth):
            if layer:
                w = torch.randn(width, width, dtype=torch.float64, generator=draw) * (
                    sigma_w / math.sqrt(width)
                )
                clean, noisy = w @ clean.tanh(), w @ noisy.tanh()
            scale = math.sqrt(profile["q"][layer])
            top = 2**bits / 2 - 0.5
            level = (torch.ceil(noisy / (scale * step)) - 0.5).clamp(-top, top)
            noisy = scale * step * level
            row.append(float((noisy - clean).square().mean() / clean.square().mean()))
        found.append(row)
    table = torch.tensor(found, dtype=torch.float64)
    return [
        compared(f"{bits} bits, layer {layer + 1} of {depth}: noise over signal",
                 ours=float(table[:, layer].mean()), error=float(table[:, layer].std()) / 4,
                 reference=float(profile["quantisation_noise"][layer]),
                 tolerance=0.1 * float(profile["quantisation_noise"][layer]),
                 why="16 networks of width 512 whose pre-activations are rounded; theory is of first order")
        for layer in (0, depth - 1)
    ]  # fmt: skip


_entry = partial(entry, source="catalogue of activations")

ENTRIES = (
    _entry(2, "one function of two numbers holds sigmoid and tanh", "activations.get", mittag_leffler),
    _entry(8, "trained steps hold ReLU", "activations.modules.StepActivation", steps),
    _entry(14, "one table of all activations", "theory.activation_table", table),
    _entry(21, "ASH passes a wanted share of entries", "activations.modules.AdaptiveSwish", adaptive),
    _entry(51, "Mish", "activations.get", mish),
    _entry(58, "APA and AGLU", "activations.get", adaptive_parametric),
    _entry(60, "the product of two ReLU units", "activations.gate", drelu),
    _entry(68, "CRReLU", "activations.get", rectified_cubic),
    _entry(69, "a backward that differs from the forward makes gradients grow", "activations.Activation",
           hard_backward),
    _entry(85, "the variance of Snake", "activations.get", snake),
    _entry(88, "noise of rounding", "activations.uniform_quantiser, theory.predict", quantised),
    _entry(95, "Hermite activations at the edge of chaos", "activations.get", hermite,
           curve=Curve(x=("degree", Axis("degree", scale="log")), y=("Eφ'²", Axis("Eφ'²")))),
    _entry(100, "keeping the k largest units", "activations.modules.TopK", top_k),
    _entry(102, "SAU", "activations.get", smooth),
)  # fmt: skip
