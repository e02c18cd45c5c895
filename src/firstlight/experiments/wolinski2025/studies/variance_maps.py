"""An activation with infinitely many stable variances, x·exp((δ/ω) sin(ω ln|x|)), and where its orbits end."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch

from firstlight.experiments.claim import Claim, compared, decided
from firstlight.experiments.drawing import lines
from firstlight.experiments.findings import Findings
from firstlight.experiments.study import Settings, Size, Study
from firstlight.experiments.wolinski2025.networks import PERIODIC
from firstlight.files.plain_data import Record
from firstlight.render.axis import Axis
from firstlight.render.chart import Rule, Series, line_chart
from firstlight.render.markup import Markup
from firstlight.render.page import grid, section

if TYPE_CHECKING:
    from firstlight.theory.maps.fixed_points import FixedPoint

# derived and checked for this project: σ_w², its window, a stable and an unstable variance, the copying factor
KNOWN: Mapping[int, tuple[float, tuple[float, float], float, float, float]] = {
    2: (PERIODIC[2], (0.486005, 1.709659), 11.6752, 201.978, 535.49),
    3: (PERIODIC[3], (0.707971, 1.217243), 3.3688, 23.917, 65.943),
    6: (PERIODIC[6], (0.949464, 0.998477), 6.5649, 2.2803, 8.1205),
}
ORBITS = (1e-3, 0.1, 1.0, 10.0, 1e3, 1e4)
ENDS = (0.0218027, 0.0218027, 11.6752, 11.6752, 6251.96, 6251.96)
_DELTA, _DEPTH = 0.99, 60


def measure(settings: Settings) -> Findings:
    """V(v)/v over the variances, fixed points, orbits over 60 layers, and networks drawn beside them."""
    from firstlight import activations
    from firstlight.theory import LayerMap, variance_fixed_points

    nets = settings.sizes["nets"]
    width = settings.sizes["width"]
    rows: list[dict[str, object]] = []
    claims: list[Claim] = []
    for omega, (square, window, stable, unstable, factor) in KNOWN.items():
        phi = activations.get(f"log_periodic({_DELTA}, {omega})")
        layer = LayerMap.of(phi, sigma_w=math.sqrt(square))
        at = np.exp(np.linspace(math.log(1e-3), math.log(1e5), 241))
        ratio = layer.variance(torch.from_numpy(at)).numpy() / at
        rows += [{"what": "map", "omega": omega, "v": v, "ratio": r} for v, r in zip(at, ratio, strict=True)]
        low, high = square / float(ratio.max()), square / float(ratio.min())
        points = variance_fixed_points(layer, within=(1e-3, 1e5))
        rows += [
            {"what": point.stability, "omega": omega, "v": point.q, "ratio": 1.0, "slope": point.slope}
            for point in points
            if point.q > 0
        ]
        claims += _of_map(omega, points, (low, high), window, stable, unstable, factor)
        settings.say(f"omega = {omega}: {len(points)} fixed points")
    rows += _orbits(nets, width, settings.seed)
    claims += _of_orbits(rows)
    return Findings(rows, tuple(claims), _NOTES)


def _of_map(
    omega: int, points: Sequence[FixedPoint], found: tuple[float, float], window: tuple[float, float], stable: float,
    unstable: float, factor: float,
) -> list[Claim]:  # fmt: skip
    known = "derived and checked for this project; the tolerance is its last digit"
    held = [p.q for p in points if p.stability == "stable" and p.q > 0]
    lost = [p.q for p in points if p.stability == "unstable" and p.q > 0]
    claims = []
    for word, target, candidates in (("stable", stable, held), ("unstable", unstable, lost)):
        near = min(candidates, key=lambda q: abs(math.log(q / target)), default=math.nan)
        claims.append(
            compared(f"ω = {omega}: {word} variance", ours=near, error=0.0, reference=target,
                     tolerance=1e-4 * target, why=known)
        )  # fmt: skip
    steps = [b / a for a, b in pairwise(held)]
    claims.append(
        compared(f"ω = {omega}: ratio of neighbouring stable variances", ours=steps[0] if steps else math.nan,
                 error=0.0, reference=math.exp(4 * math.pi / omega), tolerance=1e-4 * factor,
                 paper="infinitely many stable variances",
                 why=f"V(v)/v is periodic in ln v with period 4π/ω: every fixed point is copied ({len(held)} "
                 "stable ones are drawn)")
    )  # fmt: skip
    for word, ours, target in zip(("lower", "upper"), found, window, strict=True):
        claims.append(
            compared(f"ω = {omega}: {word} end of the window of σ_w²", ours=ours, error=0.0, reference=target,
                     tolerance=2e-3 * target, why="σ_w² over the largest and the smallest V(v)/v of 241 variances, "
                     "whose spacing is the tolerance")
        )  # fmt: skip
    return claims


def _orbits(nets: int, width: int, seed: int) -> list[Record]:
    import torch

    from firstlight.ensemble import Plan, run
    from firstlight.network import RandomNetwork
    from firstlight.theory import LayerMap

    square = KNOWN[2][0]
    net = RandomNetwork(
        depth=_DEPTH, width=width, activation=f"log_periodic({_DELTA}, 2)", sigma_w=math.sqrt(square)
    )
    layer = LayerMap.of(net)
    layers = sorted({1, 2, 3, 5, 10, 20, 30, 40, 50, _DEPTH})
    rows: list[dict[str, object]] = []
    for start in ORBITS:
        exact = [start]
        for _ in range(_DEPTH - 1):
            exact.append(float(layer.variance(exact[-1])))
        inputs = torch.full((10,), math.sqrt(start / square))
        sampled = run(Plan(net=net, nets=nets, layers=tuple(layers), seed=seed), inputs).profile
        for i, number in enumerate(layers):
            head = {"omega": 2, "start": start, "layer": number}
            rows.append({"what": "orbit, infinite width", "v": exact[number - 1], "v_se": 0.0} | head)
            rows.append(
                {
                    "what": f"orbit, width {width}",
                    "v": float(sampled["q"][i]),
                    "v_se": float(sampled["q_se"][i]),
                }
                | head
            )
    return rows


def _of_orbits(rows: list[Record]) -> list[Claim]:
    claims = []
    last = [row for row in rows if row.get("layer") == _DEPTH]
    for start, end in zip(ORBITS, ENDS, strict=True):
        exact, drawn = (row for row in last if row["start"] == start)
        claims.append(
            compared(f"ω = 2, v = {start:g} at layer 1: variance at layer {_DEPTH}", ours=exact["v"], error=0.0,
                     reference=end, tolerance=1e-4 * end, paper="the variance depends on where it starts",
                     why="iterated map of infinite width; the tolerance is the reference's last digit")
        )  # fmt: skip
        if start == 1.0:
            holds = abs(math.log(drawn["v"] / end)) < math.log(KNOWN[2][4]) / 2
            claims.append(
                decided(f"ω = 2, v = 1 at layer 1, {drawn['what'].removeprefix('orbit, ')}: variance at layer {_DEPTH}",
                        holds=holds, ours=drawn["v"], error=drawn["v_se"], reference=end,
                        why="networks drawn at random, mean over networks; nearer to this stable variance than to its "
                        "copies", otherwise="differs")
            )  # fmt: skip
    return claims


_NOTES = (
    "σ_w² lies in the window in which V(v)/v crosses 1. The slope of the map at a stable variance is below 1, at an "
    "unstable one above.",
    "A mean over networks of finite width is drawn by the few networks that jump to a higher stable variance.",
)


def draw(findings: Findings) -> Markup:
    """V(v)/v with its fixed points for each ω; orbits over layers, theory as lines and networks as marks."""
    charts = []
    for omega in findings.values("omega", what="map"):
        here = findings.select(omega=omega)
        rows = [row for row in here if row["what"] == "map"]
        series = lines(rows, "v", "ratio", style="line")
        for style, kind in (("marks", "stable"), ("hollow", "unstable")):
            some = [row for row in here if row["what"] == kind]
            series.append(Series(kind, [r["v"] for r in some], [r["ratio"] for r in some], style, colour=1))  # type: ignore[arg-type]
        charts.append(
            line_chart(series, title=f"δ = .99, ω = {omega:g}", x=Axis("v", scale="log"), y=Axis("V(v)/v"),
                       rules=[Rule(1.0)], marks=400)
        )  # fmt: skip
    orbits = [row for row in findings.rows if row["what"].startswith("orbit")]
    series = []
    for what in dict.fromkeys(row["what"] for row in orbits):
        some = [row for row in orbits if row["what"] == what]
        drawn = lines(
            some,
            "layer",
            "v",
            by="start",
            error="v_se",
            style="marks" if "width" in what and "infinite" not in what else "line",
        )
        series += drawn if not series else [Series("", s.x, s.y, s.style, s.error, s.colour) for s in drawn]
    charts.append(
        line_chart(series, title="Variance by its start, ω = 2", x=Axis("layer"), y=Axis("v", scale="log"),
                   caption="Lines: infinite width. Marks: mean over networks drawn.")
    )  # fmt: skip
    return section("Variance maps", grid(*charts))


STUDY = Study(
    name="wolinski2025/variance-maps",
    shows="an activation whose variance map has infinitely many stable points",
    source="Wolinski & Arbel, TMLR 2025, the activation φ_{δ,ω}",
    data="none",
    cost={"quick": "5 s: 60 networks of width 100", "paper": "13 s: 2000 networks of width 1000"},
    measure=measure,
    draw=draw,
    sizes={"nets": Size(60, 2000, low=2), "width": Size(100, 1000)},
)
