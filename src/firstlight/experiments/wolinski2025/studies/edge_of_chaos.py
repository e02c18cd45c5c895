"""The edge of chaos reviewed: the curve for tanh, the authors' settings on it, and second moments at finite width."""

from __future__ import annotations

import math

import numpy as np

from firstlight.experiments.claim import Claim, compared
from firstlight.experiments.drawing import lines
from firstlight.experiments.findings import Findings
from firstlight.experiments.study import Settings, Size, Study
from firstlight.experiments.wolinski2025.networks import SCALES, network
from firstlight.files.plain_data import Record
from firstlight.render.axis import Axis
from firstlight.render.chart import Series, line_chart
from firstlight.render.markup import Markup
from firstlight.render.page import grid, section

_DEPTH, _WIDTH = 50, 10
# deeper, the second moment of ReLU at this width is that of a few networks: E q² grows by 1 + 5/n in each layer
_JUDGED = 10
_SQUARES = (1.2, 1.46, 1.8)


def measure(settings: Settings) -> Findings:
    """The curve, correlations on both sides of it, and the second moment by three ways at width 10."""
    nets = settings.sizes["nets"]
    rows = [*_curve(), *_correlations(), *_moments(nets, settings.seed)]
    return Findings(rows, tuple(_claims(Findings(rows))), _NOTES)


def _curve() -> list[Record]:
    from firstlight.theory import edge_of_chaos

    edge = edge_of_chaos("tanh")
    return [
        {"what": "edge", "sigma_w2": float(w) ** 2, "sigma_b2": float(b) ** 2, "q": float(q)}
        for w, b, q in zip(edge.sigma_w, edge.sigma_b, edge.q, strict=True)
        if float(w) ** 2 < 3
    ]


def _correlations() -> list[Record]:
    from firstlight import predict
    from firstlight.network import RandomNetwork

    rows: list[dict[str, object]] = []
    for square in _SQUARES:
        net = RandomNetwork(
            depth=_DEPTH, width=1000, activation="tanh", sigma_w=math.sqrt(square), sigma_b=SCALES["tanh"][1]
        )
        profile = predict(net, c0=0.3)
        rows += [
            {"what": "correlation", "sigma_w2": square, "layer": i + 1, "correlation": float(c)}
            for i, c in enumerate(profile["correlation"])
        ]
    return rows


def _moments(nets: int, seed: int) -> list[Record]:
    import torch

    from firstlight import predict, simulate

    rows: list[dict[str, object]] = []
    layers = (1, 2, 3, 5, 10, 20, 30, _DEPTH)
    for name in SCALES:
        net = network(name, width=_WIDTH, depth=_DEPTH)
        found = simulate(net, torch.ones(10), nets=nets, layers=layers, seed=seed)
        ways = {"infinite width": predict(net), "units independent": predict(net, level="density")}
        for i, layer in enumerate(layers):
            head = {"what": "q", "network": name, "layer": layer}
            rows.append(head | {"way": "drawn", "q": float(found["q"][i]), "q_se": float(found["q_se"][i])})
            rows += [
                head | {"way": way, "q": float(p["q"][layer - 1]), "q_se": 0.0} for way, p in ways.items()
            ]
    return rows


def _claims(findings: Findings) -> list[Claim]:
    claims = _tanh_claims(findings)
    for name in findings.values("network", what="q"):
        claims += _recursion_claims(findings, str(name))
    return claims


def _tanh_claims(findings: Findings) -> list[Claim]:
    """The authors' point for tanh, and the exact curve beside it."""
    from firstlight.theory import LayerMap, variance_fixed_points

    layer = LayerMap.of(network("tanh", width=10, depth=2))
    point = max(variance_fixed_points(layer), key=lambda p: p.q)
    edge = findings.select(what="edge")
    order = np.argsort([row["sigma_w2"] for row in edge])
    at = [edge[i]["sigma_w2"] for i in order]
    exact_b, exact_q = (
        float(np.interp(1.46, at, [edge[i][name] for i in order])) for name in ("sigma_b2", "q")
    )
    known = "derived and checked for this project"
    return [
        compared(
            "tanh at (1.46, .013): stationary variance",
            ours=point.q,
            error=0.0,
            reference=0.30294,
            tolerance=6e-6,
            why=known,
        ),
        compared(
            "tanh at (1.46, .013): χ₁",
            ours=point.chi,
            error=0.0,
            reference=0.99886,
            tolerance=6e-6,
            paper="at the edge of chaos",
            why="the authors' rounded setting is .1 % on the ordered side",
        ),
        compared(
            "tanh, exact edge at σ_w² = 1.46: σ_b²",
            ours=exact_b,
            error=0.0,
            reference=0.0125418,
            tolerance=2e-5,
            why=f"{known}; the curve is interpolated between its points",
        ),
        compared(
            "tanh, exact edge at σ_w² = 1.46: variance",
            ours=exact_q,
            error=0.0,
            reference=0.301603,
            tolerance=2e-4,
            why=f"{known}; the curve is interpolated between its points",
        ),
    ]


def _recursion_claims(findings: Findings, name: str) -> list[Claim]:
    """The second moment of the drawn networks, by the recursion over two laws of pre-activations."""
    drawn, wide, dense = (
        findings.select(network=name, way=way, layer=_JUDGED)[0]
        for way in ("drawn", "infinite width", "units independent")
    )
    quantity = f"{name}, width {_WIDTH}, layer {_JUDGED}: second moment, by the recursion over"
    return [
        compared(
            f"{quantity} {law}",
            ours=drawn["q"],
            error=drawn["q_se"],
            reference=found["q"],
            tolerance=0.01 * found["q"],
            paper=paper,
            why=why,
        )
        for law, found, paper, why in (
            (
                "the law of independent units",
                dense,
                "the recursion of second moments holds at any width",
                "the reference is density propagation at this width, a hundredth the tolerance; what is left is "
                "dependence: units share their inputs, and the recursion itself is exact for the true law",
            ),
            (
                "Gaussian laws",
                wide,
                "closing the recursion needs Gaussian pre-activations",
                "the reference is the map of infinite width, of which a hundredth is the tolerance",
            ),
        )
    ]


_NOTES = (
    "Below the curve correlations go to 1 exponentially fast and gradients vanish; above it nearby inputs part and "
    "gradients explode; on it both move like a power of depth.",
)


def draw(findings: Findings) -> Markup:
    """The curve with the authors' setting, correlations on both sides, and second moments by three ways."""
    edge = sorted(findings.select(what="edge"), key=lambda row: row["sigma_b2"])
    edge = [row for row in edge if row["sigma_b2"] <= 0.2 and row["sigma_w2"] <= 2.2]
    weight, bias = (scale**2 for scale in SCALES["tanh"])
    charts = [
        line_chart(
            [
                Series(
                    "edge of chaos, tanh",
                    [r["sigma_b2"] for r in edge],
                    [r["sigma_w2"] for r in edge],
                    "line",
                ),
                Series("the authors' setting", [bias], [weight]),
            ],
            title="Edge of chaos",
            x=Axis("σ_b²", low=0, high=0.2),
            y=Axis("σ_w²", low=1, high=2.2),
        ),
        line_chart(
            lines(findings.select(what="correlation"), "layer", "correlation", by="sigma_w2", style="line"),
            title="Correlation of two inputs, by σ_w²",
            x=Axis("layer"),
            y=Axis("correlation", high=1.0),
            caption="σ_b² = .013, infinite width.",
        ),
    ]
    for name in findings.values("network", what="q"):
        series = []
        for i, way in enumerate(("infinite width", "units independent", "drawn")):
            some = findings.select(what="q", network=name, way=way)
            series += lines(
                some,
                "layer",
                "q",
                by="way",
                error="q_se",
                style="marks" if way == "drawn" else "line",
                first=i,
            )
        charts.append(
            line_chart(
                series,
                title=f"{name}, width {_WIDTH}: second moment",
                x=Axis("layer", scale="log"),
                y=Axis("E z²"),
            )
        )
    return section("Edge of chaos", grid(*charts))


STUDY = Study(
    name="wolinski2025/edge-of-chaos",
    shows="the edge of chaos, the authors' settings on it, and second moments at finite width",
    source="Wolinski & Arbel, TMLR 2025, the review of the edge of chaos",
    data="none",
    cost={"quick": "4 s: 2000 networks", "paper": "20 s: 20 000 networks"},
    measure=measure,
    draw=draw,
    sizes={"nets": Size(2000, 20_000, low=500)},
)
