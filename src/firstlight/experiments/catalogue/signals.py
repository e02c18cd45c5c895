"""Rows [5], [20], [25], [30], [70] and [84]: variances, kurtosis and spread of wide and of narrow networks."""

from __future__ import annotations

import math

import torch

from firstlight import activations, measure, simulate, theory
from firstlight.experiments.catalogue._chains import chain, relative_spread
from firstlight.experiments.catalogue.entry import Curve, Entry, generator
from firstlight.experiments.claim import Claim, compared, decided
from firstlight.experiments.findings import Findings
from firstlight.experiments.study import Settings, Size
from firstlight.files.plain_data import Record
from firstlight.network import RandomNetwork
from firstlight.render.axis import Axis

_ROUNDED = "the quoted figure has {} digits; the tolerance is half of the last"


def sparse(settings: Settings) -> Findings:
    """[5]: a start with a wanted share of zeros is stable only where the activation is clipped."""
    nets = settings.sizes["nets"]
    rows: list[Record] = []
    claims: list[Claim] = []
    quoted = {None: (6.667, 0.5368, math.inf), 0.5: (8.507, 0.6605, 0.8095), 0.7: (7.335, 0.5953, 1.1704)}
    for slope, (sigma_w2, sigma_b2, m) in quoted.items():
        tuned = theory.sparse_tuning("crelu", sparsity=0.85, slope=slope)
        name = "unclipped" if slope is None else f"slope {slope:g}"
        for what, ours, known in (
            ("σ_w²", tuned.sigma_w**2, sigma_w2), ("σ_b²", tuned.sigma_b**2, sigma_b2), ("clip m", tuned.m, m),
        ):  # fmt: skip
            claims.append(
                compared(f"{name}: {what}", ours=ours, error=0.0, reference=known, tolerance=6e-4,
                         why=_ROUNDED.format("four"))
            )  # fmt: skip
        phi = activations.get(tuned.activation)
        means = chain(
            phi, nets=nets, width=300, depth=100, sigma_w=tuned.sigma_w, sigma_b=tuned.sigma_b,
            generator=generator(settings),
        )  # fmt: skip
        for layer in (1, 2, 5, 10, 20, 30, 50, 70, 100):
            q = means[:, layer - 1]
            rows.append(
                {"start": name, "layer": layer, "q": float(q.median()),
                 "q_se": 1.25 * float(q.std()) / math.sqrt(nets) if slope else math.nan}
            )  # fmt: skip
        last = rows[-1]["q"]
        held = (
            last > 1e3 if slope is None else bool((means[:, 1:].median(0).values > 0.8).all() and last < 1.2)
        )
        claims.append(
            decided(f"{name}: median q at layer 100", holds=held, ours=last,
                    paper="explodes" if slope is None else "stays near 1",
                    why="width 300; measured before: 0.88 to 1.14 in single networks with a clip")
        )  # fmt: skip
    points = [p.q for p in theory.variance_fixed_points(_tuned_layer(0.9, 0.9)) if p.q > 0]
    claims += [
        compared(f"share of zeros .9, slope .9: fixed point {i + 1}", ours=q, error=0.0, reference=known,
                 tolerance=6e-4, why=_ROUNDED.format("four"))
        for i, (q, known) in enumerate(zip(points, (1.0, 1.399, 3.474), strict=False))
    ]  # fmt: skip
    return Findings(rows, tuple(claims))


def _tuned_layer(sparsity: float, slope: float) -> theory.LayerMap:
    tuned = theory.sparse_tuning("crelu", sparsity=sparsity, slope=slope)
    return theory.LayerMap.of(
        RandomNetwork(
            depth=1, width=1, activation=tuned.activation, sigma_w=tuned.sigma_w, sigma_b=tuned.sigma_b
        )
    )


def edgeworth(settings: Settings) -> Findings:
    """[20]: the leading correction to the Gaussian law, and weights that remove it."""
    nets = settings.sizes["nets"]
    claims = [
        compared(f"{name}: He₄ coefficient × width", ours=theory.edgeworth_kurtosis(name) / 24, error=0.0,
                 reference=known, tolerance=6e-5 if known < 0.1 else 6e-4, why=_ROUNDED.format("three"))
        for name, known in (("relu", 0.625), ("linear", 0.25), ("tanh", 0.0784), ("erf", 0.07), ("sin", 0.0806),
                            ("gelu", 0.777))
    ]  # fmt: skip
    claims.append(
        decided("ReLU: weights that match", holds=theory.matching_weight_kurtosis("relu") is None, ours=math.nan,
                paper="needs ρ₄ ≤ 3; ReLU has 6", why="no symmetric law has k_w < 1")
    )  # fmt: skip
    rows = []
    found = {}
    for law in ("normal", "uniform"):
        net = RandomNetwork(depth=2, width=10, activation="tanh", weight_law=law)
        table = simulate(net, nets=nets, seed=settings.seed)
        found[law] = (float(table["kurtosis"][1]), float(table["kurtosis_se"][1]))
        rows.append({"weights": law, "width": 10, "kurtosis": found[law][0], "kurtosis_se": found[law][1]})
    left = theory.edgeworth_kurtosis("tanh", weight_kurtosis=1.8) / theory.edgeworth_kurtosis("tanh")
    claims.append(
        compared("tanh: share of the excess kurtosis that uniform weights remove", ours=1 - abs(left), error=0.0,
                 reference=0.96, tolerance=0.005, why=_ROUNDED.format("two"))
    )  # fmt: skip
    (gauss, gauss_se), (flat, flat_se) = found["normal"], found["uniform"]
    claims += [
        compared("tanh, normal weights, width 10: excess kurtosis of layer 2", ours=gauss, error=gauss_se,
                 reference=theory.edgeworth_kurtosis("tanh", width=10), tolerance=0.02,
                 why="sampled beside the leading order; the tolerance bounds the next order"),
        decided("tanh, uniform weights, width 10: its share of that kurtosis, in size", holds=abs(flat) < 0.2 * gauss,
                ours=abs(flat) / gauss, error=flat_se / gauss, reference=abs(left), why="sampled, next order included"),
    ]  # fmt: skip
    return Findings(rows, tuple(claims))


def criticality(settings: Settings) -> Findings:
    """[25]: criticality of GELU and SWISH, and the growth of the spread between networks."""
    nets = settings.sizes["nets"]
    claims = []
    for name, (b2, w2, q), digits in (
        ("gelu", (0.172922, 1.983058, (3 + math.sqrt(17)) / 2), 6), ("silu", (0.555143, 1.988005, 14.3201), 6),
    ):  # fmt: skip
        ours = theory.criticality(name)
        claims += [
            compared(f"{name}: {what}", ours=one, error=0.0, reference=known, tolerance=slack,
                     paper=f"{known:.7g}", why=why)
            for what, one, known, slack, why in (
                ("C_b", ours.sigma_b2, b2, 6e-7, _ROUNDED.format(digits)),
                ("C_W", ours.sigma_w2, w2, 6e-7, _ROUNDED.format(digits)),
                ("K*", ours.q, q, 2e-4, "SWISH: ours is 14.3202, one unit of the last printed digit away"),
            )
        ]  # fmt: skip
    rows: list[dict[str, object]] = []
    width, depth = 300, 10
    for name, slope, sigma_w in (("linear", 2.0, 1.0), ("relu", 5.0, math.sqrt(2))):
        means = chain(activations.get(name), nets=nets, width=width, depth=depth, sigma_w=sigma_w,
                      generator=generator(settings))  # fmt: skip
        # a mean over units spreads by 2/n within one network; the vertex is what networks differ by
        spread, error = relative_spread(means)
        for layer in range(2, depth + 1):
            rows.append(
                {"network": name, "layer": layer, "V": float(spread[layer - 1] * width - 2),
                 "V_se": float(error[layer - 1] * width)}
            )  # fmt: skip
        value, se = float(spread[1] * width - 2), float(error[1] * width)
        claims.append(
            compared(f"{name}: V/K² per layer", ours=value, error=se, reference=slope, tolerance=0.1,
                     paper=f"{slope:g}(ℓ − 1)", why="layer 2 of width 300; the next order is about 1/300 of it")
        )  # fmt: skip
    return Findings(rows, tuple(claims))


def orthogonal(settings: Settings) -> Findings:
    """[30]: orthogonal weights stop the growth of the spread of tanh networks, not that of ReLU networks."""
    nets = settings.sizes["nets"]
    rows: list[Record] = []
    for name, sigma_w in (("tanh", 1.0), ("relu", math.sqrt(2))):
        for kind in ("Gaussian", "orthogonal"):
            means = chain(
                activations.get(name), nets=nets, width=32, depth=64, sigma_w=sigma_w,
                orthogonal=kind == "orthogonal", generator=generator(settings),
            )  # fmt: skip
            spread, error = relative_spread(means)
            rows += [
                {"network": f"{name}, {kind}", "layer": layer, "spread": 32 * float(spread[layer - 1]),
                 "spread_se": 32 * float(error[layer - 1])}
                for layer in (1, 2, 4, 8, 16, 32, 64)
            ]  # fmt: skip
    at = {(row["network"], row["layer"]): row["spread"] for row in rows}
    bounded = max(value for (name, _), value in at.items() if name == "tanh, orthogonal")
    return Findings(
        rows,
        (
            decided("tanh, orthogonal: largest n·Var(K̂)/K²", holds=bounded < 0.3, ours=bounded, reference=0.2,
                    paper="spread does not grow with depth", why=f"{nets} networks of width 32, 64 layers"),
            decided("tanh, Gaussian: growth from layer 1 to 64", holds=at["tanh, Gaussian", 64] > 10,
                    ours=at["tanh, Gaussian", 64] / at["tanh, Gaussian", 1], reference=74 / 2.1,
                    paper="spread grows with depth/width", why="measured before: 2.1 to 74"),
            decided("ReLU, orthogonal: growth from layer 2 to 64",
                    holds=at["relu, orthogonal", 64] > 10 * at["relu, orthogonal", 2],
                    ours=at["relu, orthogonal", 64] / at["relu, orthogonal", 2],
                    paper="ReLU is not helped", why="the heavy tail of K̂ makes the value itself noisy"),
        ),
    )  # fmt: skip


def infinite_depth(settings: Settings) -> Findings:
    """[70]: log‖φ(Y)‖ of a residual ReLU network of depth L and branches 1/√L drifts by ¼ − 1/n."""
    nets = settings.sizes["nets"]
    draw = generator(settings)
    steps, time = 64, 0.125
    rows: list[Record] = []
    claims: list[Claim] = []
    for n in (4, 8, 16, 64):
        # the direction is uniform at the start and not later, so that the drift is taken at the start
        y = torch.randn(nets, n, dtype=torch.float64, generator=draw)
        y = y[(y > 0).any(1)]
        start = _log_norm(y)
        for _ in range(steps):
            size = torch.relu(y).square().mean(1, keepdim=True).sqrt()
            y = y + size * torch.randn(y.shape, dtype=torch.float64, generator=draw) * math.sqrt(time / steps)
        logs = (_log_norm(y) - start) / time
        alive = torch.isfinite(logs)
        ours, error = float(logs[alive].mean()), float(logs[alive].std()) / math.sqrt(int(alive.sum()))
        known = theory.log_norm_drift("relu", n).drift
        spread = float(logs[alive].var()) * time
        rows.append({"width": n, "drift": ours, "drift_se": error, "theory": known, "variance": spread})
        if n > 4:  # the drift at 4 is nearly zero, and a small run cannot judge it
            claims.append(
                compared(f"width {n}: drift of log‖φ(Y)‖", ours=ours, error=error, reference=known, tolerance=0.1 / n,
                         paper=f"¼ − 1/n = {0.25 - 1 / n:.4g}",
                         why="the reference leaves out inputs that no unit passes; time 1/8 of a network, whose "
                         "direction changes by a share of that")
            )  # fmt: skip
    claims.append(
        compared("width 64: variance of log‖φ(Y)‖ × n", ours=64 * rows[-1]["variance"], error=64 * rows[-1]["variance"]
                 * math.sqrt(2 / nets), reference=1.0, tolerance=0.05, paper="1/n", why="the order after 1/n")
    )  # fmt: skip
    return Findings(rows, tuple(claims), ("Networks in which no unit is active at the end have no norm; none is "
                                          "counted.",))  # fmt: skip


def _log_norm(y: torch.Tensor) -> torch.Tensor:
    return torch.relu(y).square().sum(1).sqrt().log()


def correlators(settings: Settings) -> Findings:
    """[84]: widths decide the order of a correlator: the NTK has a mean of order 1 and a variance of order 1/n."""
    nets = settings.sizes["nets"]
    draw = generator(settings)
    tanh = activations.get("tanh")
    exact = theory.predict(RandomNetwork(depth=2, width=10, activation="tanh"))
    mean = float(activations.second(tanh, 1.0) + exact["chi"][0])
    rows = []
    for n in (16, 64, 256, 1024):
        count = max(nets // n, 400)
        u, v = (torch.randn(count, n, dtype=torch.float64, generator=draw) for _ in range(2))
        ntk = (u.tanh().square() + v.square() * (1 - u.tanh().square()).square()).mean(1)
        fourth = float((ntk - ntk.mean()).pow(4).mean())
        spread = float(ntk.var())
        rows.append(
            {"width": n, "mean": float(ntk.mean()), "mean_se": float(ntk.std()) / math.sqrt(count),
             "scaled": n * spread, "scaled_se": n * math.sqrt((fourth - spread**2) / count)}
        )  # fmt: skip
    claims = [
        compared(f"width {row['width']}: E Θ", ours=row["mean"], error=row["mean_se"], reference=mean,
                 paper="order 1", why="E tanh² + E tanh'², exact at every width")
        for row in rows
    ]  # fmt: skip
    claims += [
        compared(f"width {row['width']}: n·Var Θ", ours=row["scaled"], error=row["scaled_se"], reference=0.68,
                 tolerance=0.01, paper="order 1", why="measured before: .674 to .685 at widths 16 to 1024")
        for row in rows
    ]  # fmt: skip
    claims.append(
        compared("exponent of EΘ: two derivatives in one cluster", ours=theory.correlator_exponent(2), error=0.0,
                 reference=0.0, why="s = n_e + n_o/2 − m/2")
    )  # fmt: skip
    return Findings(rows, tuple(claims))


def dimension(settings: Settings) -> Findings:
    """[36]: the rank of ReLU representations falls with depth under every definition we tried."""
    draws = settings.sizes["draws"]
    draw = generator(settings)
    kept = (1, 2, 3, 5, 10, 20)
    found: dict[tuple[str, int], list[float]] = {}
    for _ in range(draws):
        x = torch.randn(50, 100, dtype=torch.float64, generator=draw)
        for layer in range(1, 21):
            w = torch.randn(100, 100, dtype=torch.float64, generator=draw) * math.sqrt(2 / 100)
            x = torch.relu(x @ w.T)
            if layer in kept:
                found.setdefault(("ε = .01", layer), []).append(measure.epsilon_rank(x, epsilon=0.01))
                found.setdefault(("entropy", layer), []).append(measure.effective_rank(x))
                found.setdefault(("numerical", layer), []).append(float(torch.linalg.matrix_rank(x)))
    rows: list[Record] = []
    for (kind, layer), values in found.items():
        sample = torch.tensor(values)
        rows.append({"rank": kind, "layer": layer, "value": float(sample.mean()),
                     "value_se": float(sample.std()) / math.sqrt(draws)})  # fmt: skip
    rows += [
        {"rank": "claimed", "layer": layer, "value": 50 * (1 - (1 - 2 / math.pi) ** layer), "value_se": 0.0}
        for layer in kept
    ]
    at = {(row["rank"], row["layer"]): row for row in rows}
    claims = [
        decided(f"layer {layer}, rank by {kind}: grows as claimed",
                holds=abs(at[kind, layer]["value"] - at["claimed", layer]["value"]) < 0.05 * 50,
                ours=at[kind, layer]["value"], error=at[kind, layer]["value_se"],
                reference=at["claimed", layer]["value"], paper="m[1 − (1 − 2/π)^ℓ] (abstract)",
                why="50 Gaussian samples, width 100, He weights; the claim grows with depth, this rank does not")
        for kind in ("ε = .01", "entropy", "numerical") for layer in (1, 20)
    ]  # fmt: skip
    return Findings(rows, tuple(claims))


_LAYER = ("layer", Axis("layer", scale="log"))

ENTRIES = (
    Entry(
        number=5, title="sparse activations stay stable where they are clipped",
        source="Price et al. (2024), sparsity-inducing activations", made_of=("theory.sparse_tuning",),
        check=sparse, curve=Curve(x=_LAYER, y=("q", Axis("median q", scale="log")), by="start"),
        sizes={"nets": Size(20, 1000, low=20)},
    ),
    Entry(
        number=20, title="the leading correction to a Gaussian pre-activation, and weights that remove it",
        source="Edgeworth expansion in 1/width",
        made_of=("theory.edgeworth_kurtosis", "theory.matching_weight_kurtosis"),
        check=edgeworth, sizes={"nets": Size(100_000, 2_000_000, low=100)},
    ),
    Entry(
        number=25, title="criticality of smooth activations, and how networks spread",
        source="Roberts, Yaida and Hanin, The Principles of Deep Learning Theory (2022)",
        made_of=("theory.criticality", "theory.finite_width"), check=criticality,
        sizes={"nets": Size(4000, 100_000, low=1000)},
        curve=Curve(x=("layer", Axis("layer")), y=("V", Axis("V/K²")), by="network", error="V_se"),
    ),
    Entry(
        number=30, title="orthogonal weights stop the spread of tanh networks, not that of ReLU networks",
        source="finite-width orthogonal networks", made_of=("weights.haar", "theory.finite_width"), check=orthogonal,
        curve=Curve(x=_LAYER, y=("spread", Axis("n·Var(K̂)/K²", scale="log")), by="network", error="spread_se"),
        sizes={"nets": Size(300, 20_000, low=40)},
    ),
    Entry(
        number=36, title="the rank of ReLU representations falls with depth",
        source="layerwise effective dimension of ReLU networks",
        made_of=("measure.epsilon_rank", "measure.effective_rank"),
        check=dimension, sizes={"draws": Size(20, 400, low=2)},
        curve=Curve(x=_LAYER, y=("value", Axis("rank of 50 samples")), by="rank", error="value_se"),
    ),
    Entry(
        number=70, title="the log-norm of an infinitely deep residual ReLU network drifts by ¼ − 1/n",
        source="infinite-depth limit of residual networks", made_of=("theory.log_norm_drift",), check=infinite_depth,
        curve=Curve(x=("width", Axis("width", scale="log")), y=("drift", Axis("drift of log‖Y‖")), error="drift_se"),
        sizes={"nets": Size(8000, 400_000, low=100)},
    ),
    Entry(
        number=84, title="the neural tangent kernel has a mean of order 1 and a variance of order 1/width",
        source="width exponents of correlators", made_of=("theory.correlator_exponent",), check=correlators,
        curve=Curve(x=("width", Axis("width", scale="log")), y=("scaled", Axis("n·Var Θ")), error="scaled_se"),
        sizes={"nets": Size(40_000, 1_000_000, low=100)},
    ),
)  # fmt: skip
