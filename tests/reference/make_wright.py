"""Make wright.json: pdf, cdf and survival of |Y| to 25 digits, each by two independent routes in mpmath.

Route 1 sums the Taylor series f(y) = √(2/π) Σ (−x)^k / (k! Γ(1 − (2k+1)/θ)), x = y²/2, with as many digits as
its cancellation needs. Route 2 integrates the Hankel contour of 1/Γ: collapsed on the negative axis below √2,
along the path of constant phase above. Close to θ = 2 the series would need millions of terms in the tail; there
the two paths of route 2, whose integrands have nothing in common, check each other. A value is stored only if
both agree to 1e-20; the others are printed.

    python tests/reference/make_wright.py
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import mpmath as mp

THETAS = ["2.005", "2.05", "2.2", "2.5", "3", "4", "5", "7", "10", "25", "100", "1000", "1000000", "2.0001"]
BODY = ["0.001", "0.3", "1", "1.4"]
LEVELS = [0.6, 3, 12, 50, 230, 690]  # about −log of the survival


def coefficients(theta: mp.mpf, x_max: mp.mpf) -> list[mp.mpf]:
    """1/(k! Γ(1 − (2k+1)/θ)) until the terms at x_max fall below the working precision, for good."""
    out, log_term = [], mp.mpf(0)
    k, factorial = 0, mp.mpf(1)
    while True:
        out.append(mp.rgamma(1 - (2 * k + 1) / theta) / factorial)
        # an upper envelope: |1/Γ(1−z)| ≤ Γ(z)/π, so that zeros of the sine do not stop the sum
        if k > 20 and k % 16 == 0:
            z = (2 * k + 1) / theta
            envelope = mp.loggamma(max(z, mp.mpf(1))) - mp.loggamma(k + 1) + k * mp.log(x_max)
            if envelope < log_term - (mp.mp.dps + 5) * mp.log(10):
                return out
        k += 1
        factorial *= k


def series(coeffs: list[mp.mpf], y: mp.mpf) -> tuple[mp.mpf, mp.mpf]:
    """pdf and cdf from the Taylor series."""
    x, power, f, big_f = y * y / 2, mp.mpf(1), mp.mpf(0), mp.mpf(0)
    for k, c in enumerate(coeffs):
        f += c * power
        big_f += c * power / (2 * k + 1)
        power *= -x
    scale = mp.sqrt(2 / mp.pi)
    return scale * f, scale * y * big_f


def contour(theta: mp.mpf, y: mp.mpf) -> tuple[mp.mpf, mp.mpf]:
    """pdf and survival from the constant-phase contour σ = ρ(u) e^{iu}, ρ = (x sin au / sin u)^{1/(1−a)}."""
    a = 2 / theta
    e, x = 1 - a, y * y / 2
    z = mp.power(x, 1 / e)
    edge = mp.power(a, 1 / e) * e / a * z  # mpmath stops on an absolute error: factor the size out

    def pieces(u):
        r = mp.power(mp.sin(a * u) / mp.sin(u), 1 / e)
        exponent = r * mp.sin(e * u) / mp.sin(a * u)
        slope = (a * mp.cot(a * u) - mp.cot(u)) / e
        jacobian = mp.power(r, a / 2) * (mp.cos(a * u / 2) + mp.sin(a * u / 2) * slope)
        return exponent, jacobian

    def density(u):
        exponent, jacobian = pieces(u)
        return jacobian * mp.exp(edge - exponent * z) if exponent * z < 1e5 else mp.mpf(0)

    def tail(u):
        exponent, jacobian = pieces(u)
        if exponent * z > 1e5:  # e^{−100000} of a mass of one; mpmath's erfc overflows further out
            return mp.mpf(0)
        return jacobian / mp.sqrt(exponent) * mp.erfc(mp.sqrt(exponent * z)) * mp.exp(edge)

    # panels that halve towards both ends resolve the peak at 0 and the layer at π
    cuts = [mp.mpf(0)] + [mp.pi * mp.mpf(2) ** -j for j in range(12, 0, -1)]
    cuts += [mp.pi - mp.pi * mp.mpf(2) ** -j for j in range(2, 26 if theta > 100 or e < 0.01 else 10)] + [
        mp.pi
    ]
    integrate = lambda g: mp.exp(-edge) * mp.quad(g, cuts, method="gauss-legendre", maxdegree=7)  # noqa: E731
    f = mp.sqrt(2 / mp.pi) / mp.pi * mp.power(z, a / 2) * integrate(density)
    return f, e / mp.pi * integrate(tail)


def collapsed(theta: mp.mpf, y: mp.mpf) -> tuple[mp.mpf, mp.mpf]:
    """pdf and survival from the Hankel contour folded onto the negative axis; it cancels where y is large."""
    a = 2 / theta
    x, turn = y * y / 2, mp.expjpi(a)
    half = mp.expjpi(a / 2)
    # The integrand has a peak e^L and has to cancel to e^{−L}. Moved by iη its peak is e^{L g(η)},
    # g = cos η e^{(η+π) tan η}, so the trapezoid errs by exp(L g(η) − 2πη/step) for the best η: that has to be
    # below e^{−2L}, and e^{−140} more.
    level = max(mp.mp.dps - 60, 0) * math.log(10) / 2
    shifts = [0.01 * i for i in range(5, 120)]
    peaks = [math.cos(t) * math.exp((t + math.pi) * math.tan(t)) for t in shifts]
    rate = min((level * (g + 2) + 140) / t for g, t in zip(peaks, shifts, strict=True))
    step = mp.mpf(1) / max(20, math.ceil(rate / (2 * math.pi)))
    f = big_f = mp.mpf(0)
    start = -int(mp.log(max(150, 2 * (level + 100)) / a) / step)  # r^{a/2} has to vanish at the lower end
    for j in range(start, int(60 / step)):
        v = j * step
        log_r = v - mp.exp(-v)
        r, ra = mp.exp(log_r), mp.exp(a * log_r)
        if r - x * ra > 2.4 * mp.mp.dps:
            break
        weight = (1 + mp.exp(-v)) * step
        f += weight * mp.sqrt(ra) * (mp.exp(-r - x * ra * turn) * half).imag
        big_f += weight * (mp.exp(-r) * mp.erf(mp.sqrt(x * ra) * half)).imag
    return mp.sqrt(2 / mp.pi) / mp.pi * f, 1 - big_f / mp.pi


def points(theta: mp.mpf) -> list[mp.mpf]:
    """The points of this θ: four in the body, one just above √2, the rest down the tail."""
    a = 2 / theta
    e = 1 - a
    edge = mp.power(a, 1 / e) * e / a
    # next to θ = 2 the survival at 1.42 is exp(−10^66)
    tail = [mp.sqrt(2 * mp.power(level / edge, e)) for level in (LEVELS if e > 1e-3 else [1e-3, *LEVELS])]
    body = [mp.mpf(y) for y in (BODY if e < 1e-3 else [*BODY, "1.42"])]
    return [mp.mpf(float(y)) for y in [*body, *tail]]


def digits(theta: mp.mpf, x_max: mp.mpf, level: float) -> int:
    """Decimal digits for the series: its largest term, the survival it ends at, and 60 to spare."""
    a = 2 / theta
    peak = int(mp.power(x_max * mp.power(a, a), 1 / (1 - a)))
    largest = 0.0
    for k in range(0, 2 * peak + 40, max(peak // 50, 1)):
        z = max((2 * k + 1) / theta, mp.mpf(1))
        largest = max(largest, float(mp.loggamma(z) - mp.loggamma(k + 1) + k * mp.log(x_max)))
    return int((largest + level) / math.log(10)) + 60


def rows_for(text: str) -> list[dict[str, float | str]]:
    """The rows of one θ that both routes agree on."""
    mp.mp.dps = 60
    theta, rows = mp.mpf(float(text)), []
    ys = points(theta)
    # of the series: next to θ = 2 it would need millions of terms, and next to that as many at any point past √2
    reach = max(ys) if theta > mp.mpf("2.04") else mp.mpf("1.421" if theta > mp.mpf("2.001") else "1.4142")
    precision = digits(theta, reach**2 / 2, LEVELS[-1] if reach == max(ys) else 3)
    mp.mp.dps = precision
    coeffs = coefficients(theta, reach**2 / 2)
    for y in ys:
        if y <= reach:
            mp.mp.dps = precision
            f1, big_f = series(coeffs, y)
            sf1 = 1 - big_f
        else:
            level = -mp.log(contour(theta, y)[1])
            mp.mp.dps = 60 + math.ceil(2 * level / math.log(10))
            f1, sf1 = collapsed(theta, y)
            big_f = 1 - sf1
        mp.mp.dps = 40
        f2, sf2 = (contour if y > mp.sqrt(2) else collapsed)(theta, y)
        agree = max(abs(f1 / f2 - 1), abs(sf1 / sf2 - 1))
        print(text, mp.nstr(y, 6), mp.nstr(sf1, 6), mp.nstr(agree, 3), len(coeffs), flush=True)
        if agree < mp.mpf("1e-20"):
            row: dict[str, float | str] = {"theta": float(text), "y": float(y)}
            rows.append(row | {"pdf": mp.nstr(f1, 25), "cdf": mp.nstr(big_f, 25), "sf": mp.nstr(sf1, 25)})
    return rows


def main() -> None:
    """Write wright.json beside this script; with arguments, only the rows of those θ are made anew."""
    path = Path(__file__).with_name("wright.json")
    old = json.loads(path.read_text()) if path.exists() else []
    for text in sys.argv[1:] or THETAS:
        old = [row for row in old if row["theta"] != float(text)] + rows_for(text)
        old.sort(key=lambda row: (row["theta"], row["y"]))
        path.write_text(json.dumps(old, indent=0) + "\n")
    print(f"{len(old)} rows")


if __name__ == "__main__":
    main()
