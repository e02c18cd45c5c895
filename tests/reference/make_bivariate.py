"""Make bivariate.json: E f(u)f(v) for correlated Gaussians to 20 digits in mpmath.

Piecewise linear functions are sums of hinges max(z − a, 0): the mean of one given the other Gaussian is elementary, and
the remaining integral is split where it bends. Smooth ones are summed on a grid in both Gaussians.

    python tests/reference/make_bivariate.py
"""

from __future__ import annotations

import json
from pathlib import Path

import mpmath as mp

mp.mp.dps = 30
CORRELATIONS = ["-1", "-0.999", "0.3", "0.9999", "1 - 1e-12", "1"]
# Each function as a sum of hinges: where, and by how much the slope grows.
HINGES = {
    "clip": [("-1", 1), ("1", -1)],
    "shifted_relu": [("0.3", 1)],
    "bent": [("-0.7", 2), ("0.4", -3)],
}
VARIANCES = [("1", "1"), ("0.25", "9"), ("1e-12", "1"), ("1e12", "1e12")]


def number(text: str) -> mp.mpf:
    """The nearest float64, exactly: near 1 its rounding would show."""
    return mp.mpf(1 - 1e-12 if text == "1 - 1e-12" else float(text))


def hinge_pair(a: mp.mpf, b: mp.mpf, s: mp.mpf, t: mp.mpf, c: mp.mpf) -> mp.mpf:
    """E max(u − a, 0) max(v − b, 0) for u = s G₁, v = t G₂ of correlation c, given G₁ by a closed inner mean."""
    rest = t * mp.sqrt((1 - c) * (1 + c))

    def inner(g: mp.mpf) -> mp.mpf:
        m = t * c * g - b
        if rest == 0:
            return max(m, mp.mpf(0))
        z = m / rest
        return m * mp.ncdf(z) + rest * mp.npdf(z)

    start = a / s
    top = max(mp.mpf(40), start + 40) if start > -40 else mp.mpf(40)
    cuts = {start, top} if start > -40 else {mp.mpf(-40), top}
    low = min(cuts)
    if c != 0:
        centre, width = b / (t * c), rest / (t * abs(c))
        cuts |= {centre + k * width for k in (-30, -10, -3, 0, 3, 10, 30)}
    cuts |= {mp.mpf(k) for k in range(-12, 13, 2)}
    edges = sorted(x for x in cuts if low <= x <= top)
    return (
        mp.quad(lambda g: (s * g - a) * inner(g) * mp.npdf(g), edges, method="gauss-legendre")
        if start < 40
        else mp.mpf(0)
    )


def hinges(name: str, q1: str, q2: str, c: mp.mpf) -> mp.mpf:
    """Sum over pairs of hinges."""
    s, t = mp.sqrt(mp.mpf(q1)), mp.sqrt(mp.mpf(q2))
    bends = [(mp.mpf(at), height) for at, height in HINGES[name]]
    return mp.fsum(h * k * hinge_pair(a, b, s, t, c) for a, h in bends for b, k in bends)


def smooth(f, q1: str, q2: str, c: mp.mpf) -> mp.mpf:
    """A trapezoid rule in both Gaussians, whose error falls exponentially with the step; c = ±1 in one."""
    s, t = mp.sqrt(mp.mpf(q1)), mp.sqrt(mp.mpf(q2))
    h = mp.mpf(1) / 10
    grid = [h * i for i in range(-90, 91)]
    weights = [h * mp.npdf(g) for g in grid]
    rest = mp.sqrt((1 - c) * (1 + c))
    total = mp.mpf(0)
    for g, w in zip(grid, weights):
        inner = f(t * c * g) if rest == 0 else mp.fdot(weights, [f(t * (c * g + rest * e)) for e in grid])
        total += w * f(s * g) * inner
    return total


def main() -> None:
    cases = []
    for name in HINGES:
        for q1, q2 in VARIANCES:
            for c in CORRELATIONS:
                value = hinges(name, q1, q2, number(c))
                cases.append({"f": name, "q1": q1, "q2": q2, "c": c, "value": mp.nstr(value, 20)})
    for name, f in {"tanh": mp.tanh, "gelu": lambda x: x * mp.ncdf(x)}.items():
        for q1, q2 in (("1", "1"), ("0.25", "1.5"), ("1e-12", "1")):
            for c in ("-1", "-0.5", "0.3", "1 - 1e-12", "1"):
                value = smooth(f, q1, q2, number(c))
                cases.append({"f": name, "q1": q1, "q2": q2, "c": c, "value": mp.nstr(value, 20)})
    Path(__file__).with_name("bivariate.json").write_text(json.dumps(cases, indent=0) + "\n")


if __name__ == "__main__":
    main()
