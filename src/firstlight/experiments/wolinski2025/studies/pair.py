"""The pairs: exact functions beside the closed form that the authors fit, and what a pair does to signals."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from firstlight.experiments.claim import Claim, compared, decided
from firstlight.experiments.drawing import lines
from firstlight.experiments.findings import Findings
from firstlight.experiments.study import Settings, Size, Study
from firstlight.experiments.wolinski2025.closed_form import best_of_family, product_distance
from firstlight.experiments.wolinski2025.networks import THETAS
from firstlight.render.axis import Axis
from firstlight.render.chart import line_chart
from firstlight.render.markup import Markup
from firstlight.render.page import grid, section

# derived and checked for this project, θ = 2.05, 2.5, 3, 4, 5, 7, 10
KNOWN: Mapping[tuple[str, str], tuple[float, ...]] = {
    ("odd", "chi"): (1.2423, 1.0970, 1.0464, 1.0156, 1.0068, 1.0020, 1.0005),
    ("positive", "chi"): (0.2290, 0.2643, 0.2949, 0.3309, 0.3500, 0.3685, 0.3794),
    ("odd", "variance_slope"): (0.405, 0.584, 0.693, 0.810, 0.869, 0.927, 0.961),
    ("positive", "variance_slope"): (0.027, 0.171, 0.262, 0.361, 0.413, 0.464, 0.494),
    ("positive", "correlation_at_zero"): (0.803, 0.753, 0.721, 0.687, 0.670, 0.655, 0.646),
}
_SPOKEN = {"chi": "χ₁", "variance_slope": "V'(1)", "correlation_at_zero": "C(0)"}
_GRID = np.linspace(-4, 4, 81)


def measure(settings: Settings) -> Findings:
    """Functions on [−4, 4], the nearest closed form, and the distance of W φ(X) to N(0, 1) for both."""
    from firstlight.pairs import weibull

    thetas = settings.sizes["thetas"]
    rows: list[dict[str, object]] = []
    for kind in ("odd", "positive"):
        for theta in thetas:
            pair = weibull(theta, kind=kind)
            near = best_of_family(pair.exact, theta, kind=kind)
            exact, fitted = pair.exact(_GRID), near(_GRID)
            slopes = pair.exact.derivative(_GRID)
            rows += [
                {
                    "what": "function",
                    "kind": kind,
                    "theta": theta,
                    "x": x,
                    "phi": a,
                    "closed_form": b,
                    "slope": s,
                }
                for x, a, b, s in zip(_GRID, exact, fitted, slopes, strict=True)
            ]
            check = pair.check()
            inside = np.abs(_GRID) <= 3
            rows.append(
                {
                    "what": "pair",
                    "kind": kind,
                    "theta": theta,
                    "ks_exact": product_distance(pair.exact, theta),
                    "ks_closed_form": product_distance(near, theta),
                    "off": float(np.abs(exact - fitted)[inside].max()),
                    "chi": check.chi,
                    "variance_slope": check.variance_slope,
                    "correlation_at_zero": check.correlation_at_zero,
                    "slope_at_zero": float(pair.exact.derivative(np.zeros(1))[0]),
                }
            )
            settings.say(f"{kind}, theta = {theta:g}")
    return Findings(rows, tuple(_claims(Findings(rows))), _NOTES)


def _claims(findings: Findings) -> list[Claim]:
    pairs = findings.select(what="pair")
    worst = max(row["ks_exact"] for row in pairs)
    off = [row["off"] for row in pairs]
    fitted = [row["ks_closed_form"] for row in pairs]
    odd = [row for row in pairs if row["kind"] == "odd"]
    slope = max(
        (row for row in odd), key=lambda row: abs(row["slope_at_zero"] - math.gamma(1 - 1 / row["theta"]))
    )
    claims = [
        decided(
            "exact functions: largest KS distance of W φ(X) to N(0, 1)",
            holds=worst < 1e-4,
            ours=worst,
            reference=0.0,
            paper="W ~ P, X ~ N(0, 1) ⇒ W φ(X) ~ N(0, 1)",
            why="by quadrature; what is left is the quadrature's error",
        ),
        compared(
            f"odd, θ = {slope['theta']:g}: φ'(0), the worst of all θ",
            ours=slope["slope_at_zero"],
            error=0.0,
            reference=math.gamma(1 - 1 / slope["theta"]),
            tolerance=1e-8,
            why="the reference is Γ(1 − 1/θ)",
        ),
        decided(
            "the authors' closed form, fitted anew: largest distance to the exact function on [−3, 3]",
            holds=max(off) < 0.07,
            ours=max(off),
            reference=0.07,
            otherwise="differs",
            paper="a closed form is fitted to an interpolated density (section 4)",
            why="the functions that the authors ship are off by .07 to .31 (measured before): most of their error is "
            f"not the closed form, whose best members are off by {min(off):.4f} to {max(off):.4f}",
        ),
        decided(
            "the authors' closed form, fitted anew: largest KS distance of W φ(X) to N(0, 1)",
            holds=max(fitted) < 1e-3,
            ours=max(fitted),
            reference=0.0,
            otherwise="differs",
            paper=".004 to .022 (authors' saved data, one unit)",
            why=f"the exact function gives 0, and the closed form itself costs {min(fitted):.4f} to {max(fitted):.4f}",
        ),
    ]
    for (kind, name), known in KNOWN.items():
        for theta, value in zip(THETAS, known, strict=True):
            for row in (row for row in pairs if (row["kind"], row["theta"]) == (kind, theta)):
                claims.append(
                    compared(
                        f"{kind}, θ = {theta:g}: {_SPOKEN[name]}",
                        ours=row[name],
                        error=0.0,
                        reference=value,
                        tolerance=6e-5 if name == "chi" else 6e-4,
                        why="derived and checked for this project; the tolerance is the last digit",
                    )
                )
    return claims


_NOTES = (
    "The authors' coefficients are stored as binary files and were not read: the closed form drawn here is the member "
    "of their family that is nearest to the exact function, hence the best that the family can do.",
    "Gaussian and trainable are two things: χ₁ of odd pairs is above 1, that of positive pairs below .38.",
)


def draw(findings: Findings) -> Markup:
    """φ for each θ with the closed form beside, its slope, the error of the closed form, and χ₁ against θ."""
    parts = []
    for kind in findings.values("kind", what="function"):
        rows = findings.select(what="function", kind=kind)
        x = Axis("x")
        functions = line_chart(
            lines(rows, "x", "phi", by="theta", style="line"),
            title=f"φ of {kind} pairs, by θ",
            x=x,
            y=Axis("φ(x)"),
        )
        slopes = line_chart(
            lines(rows, "x", "slope", by="theta", style="line"), title="Slope, by θ", x=x, y=Axis("φ'(x)")
        )
        off = [dict(row) | {"off": row["closed_form"] - row["phi"]} for row in rows if abs(row["x"]) <= 3]
        errors = line_chart(
            lines(off, "x", "off", by="theta", style="line"),
            title="Closed form less exact, by θ",
            x=x,
            y=Axis("difference"),
            caption="The best member of the authors' family of closed forms.",
        )
        parts.append(section(f"{kind} pairs".capitalize(), grid(functions, slopes, errors)))
    pairs = findings.select(what="pair")
    exact = [dict(row) | {"kind": f"{row['kind']}, exact"} for row in pairs]
    parts.append(
        section(
            "What a pair does",
            grid(
                line_chart(
                    lines(pairs, "theta", "chi", by="kind"),
                    title="Gradients",
                    x=Axis("θ", scale="log"),
                    y=Axis("χ₁"),
                ),
                line_chart(
                    lines(pairs, "theta", "variance_slope", by="kind"),
                    title="Stability of the variance",
                    x=Axis("θ", scale="log"),
                    y=Axis("V'(1)", low=0, high=1),
                ),
                line_chart(
                    lines(pairs, "theta", "ks_closed_form", by="kind")
                    + lines(exact, "theta", "ks_exact", by="kind", first=2),
                    title="Distance of W φ(X) to N(0, 1)",
                    x=Axis("θ", scale="log"),
                    y=Axis("KS distance", scale="log"),
                ),
            ),
        )
    )
    return Markup("".join(parts))


STUDY = Study(
    name="wolinski2025/pair",
    shows="the functions of the pairs, exact and by the authors' closed form, and what a pair does to signals",
    source="Wolinski & Arbel, TMLR 2025, section 4",
    data="none",
    cost={"quick": "20 s: three θ", "paper": "3 min: seven θ"},
    measure=measure,
    draw=draw,
    sizes={"thetas": Size((2.05, 3.0, 10.0), THETAS, low=2)},
)
