"""LawTester: a weight law against its own samples, quadrature and inverse."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from firstlight.testing.failure import expect_close, expect_mean, expect_true
from firstlight.weights import WeightLaw, get

_SHARES = (1e-6, 0.01, 0.2, 0.3, 0.5, 0.77, 0.999)


@dataclass(frozen=True)
class LawTester:
    """Holds what a weight law declares against second ways to the same numbers.

    Every method raises `DeclarationError` with both numbers when a declaration does not hold. Samples are judged at
    five standard errors, so that a right law fails once in a million comparisons.

    Parameters
    ----------
    law
        The law, such as an instance of a user's own subclass of `firstlight.weights.WeightLaw`.
    samples
        How many weights are drawn.
    seed
        Of the draws.

    Examples
    --------
    >>> from firstlight import weights
    >>> from firstlight.testing import LawTester
    >>> LawTester(weights.weibull(3.0), samples=20_000).all()
    """

    law: WeightLaw
    samples: int = 100_000
    seed: int = 0

    def all(self) -> None:
        """Every method in turn. A law of whole matrices (``independent`` is false) has no samples of single weights."""
        self.inverse()
        self.density()
        self.mellin()
        self.spelling()
        if self.law.independent:
            self.moments()
            self.draws()

    def inverse(self) -> None:
        """``icdf`` inverts ``cdf``: exactly for a density, at a step of the cdf that passes p for atoms.

        Raises
        ------
        DeclarationError
            A probability that does not come back.
        """
        for share in _SHARES:
            at = self.law.icdf(share)
            below = float(self.law.cdf(at))
            what = f"the quantile of {self.law.name} at p = {share:g}"
            if self.law.has_density:
                # rounding the place moves the cdf by the density times an ulp, which an edge may make large
                density = math.exp(float(self.law.log_prob(at)))
                rounded = 2 * math.ulp(float(at)) * density if math.isfinite(density) else 1e-6
                expect_close(what, below, share, rtol=1e-9, atol=1e-12 + rounded)
            else:
                before = float(self.law.cdf(torch.nextafter(at, torch.tensor(-math.inf, dtype=at.dtype))))
                expect_true(
                    f"{what}: expected a place where the cdf passes p",
                    before <= share <= below + 1e-12,
                    (before, below),
                )

    def density(self) -> None:
        """``log_prob`` integrates to the cdf between quantiles, and so to 1; the atoms of a discrete law sum to 1.

        Raises
        ------
        DeclarationError
            An interval whose integral is not its probability.
        """
        from scipy.integrate import quad

        if not self.law.has_density:
            p = torch.linspace(0.5, 1.0, 20_001, dtype=torch.float64)[:-1] + 1e-9
            size = torch.unique(self.law.icdf(p).abs())
            atoms = self.law.log_prob(size).exp()
            total = float((atoms * torch.where(size > 0, 2.0, 1.0)).sum())
            expect_close(f"the sum of the atoms of {self.law.name}", total, 1.0, rtol=1e-9)
            return

        def pdf(w: float) -> float:
            return math.exp(float(self.law.log_prob(w)))

        shares = (1e-4, 0.02, 0.25, 0.49, 0.51, 0.75, 0.98, 1 - 1e-4)
        for low, high in pairwise(shares):
            a, b = float(self.law.icdf(low)), float(self.law.icdf(high))
            area, error = quad(pdf, a, b, epsabs=1e-11, limit=200, points=[0.0] if a < 0 < b else None)
            expect_close(
                f"the integral of the density of {self.law.name} from {a:.4g} to {b:.4g}",
                area,
                high - low,
                rtol=1e-7,
                atol=1e-9 + 10 * error,
            )

    def moments(self, orders: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)) -> None:
        """E|W|^k as declared against the sample, where the strip holds 2k so that a standard error exists.

        Raises
        ------
        DeclarationError
            A moment five standard errors away from the sample's.
        """
        size = self._draw(torch.float64).abs()
        for order in orders:
            if not self.law.strip[0] < 2 * order < self.law.strip[1]:
                continue
            powers = size**order
            what = f"the moment E|W|^{order:g} of {self.law.name}"
            expect_mean(what, self.law.moment(order), float(powers.mean()), float(powers.std()), self.samples)

    def mellin(self) -> None:
        """E|W|^s on complex s: Hermitian, bounded by its value on the real line, equal to ``moment`` there.

        Raises
        ------
        DeclarationError
            One of the three fails.
        """
        sigma = min(1.0, 0.5 * self.law.strip[1])
        values = self.law.mellin(np.array([sigma + 3j, sigma - 3j, sigma]))
        what = f"the Mellin transform of {self.law.name}"
        expect_close(
            f"{what}: Hermitian",
            abs(values[0] - np.conj(values[1])),
            0.0,
            rtol=0.0,
            atol=1e-12 * abs(values[2]),
        )
        expect_true(
            f"{what}: expected |E|W|^s| ≤ E|W|^Re s",
            bool(abs(values[0]) <= abs(values[2]) * (1 + 1e-12)),
            values,
        )
        expect_close(
            f"{what} on the real line", float(np.real(values[2])), self.law.moment(sigma), rtol=1e-10
        )

    def draws(self) -> None:
        """Samples follow the cdf in both floating types, take fan-in and σ_w, and depend on the seed alone.

        Raises
        ------
        DeclarationError
            A share of the samples five standard errors away, or a wrong scale, dtype or seed.
        """
        for dtype in (torch.float32, torch.float64):
            drawn = self._draw(dtype)
            what = f"samples of {self.law.name} in {dtype}"
            expect_true(f"{what}: expected this dtype", drawn.dtype == dtype, drawn.dtype)
            for share in (0.03, 0.3, 0.6, 0.95):
                at = float(self.law.icdf(share)) * (1 + 1e-6)
                p = float(self.law.cdf(at))
                spread = math.sqrt(max(p * (1 - p), 1e-12))
                expect_mean(
                    f"the share of {what} below {at:.4g}",
                    p,
                    float((drawn.double() <= at).double().mean()),
                    spread,
                    self.samples,
                )
        again = self._draw(torch.float64)
        expect_true(
            f"samples of {self.law.name}: expected the same ones from the same seed",
            torch.equal(again, self._draw(torch.float64)),
            "others",
        )
        scaled = self._draw(torch.float64, fan_in=20, sigma_w=2.0)
        expect_true(
            f"samples of {self.law.name}: expected σ_w/√fan-in times the law",
            torch.allclose(scaled, again * 2 / math.sqrt(20), rtol=1e-12),
            float((scaled / again).nanmean()),
        )

    def spelling(self) -> None:
        """``weights.get`` turns the spelling into the same law; a law without a spelling has nothing to hold.

        Raises
        ------
        DeclarationError
            The text gives another law.
        """
        text = self.law.spelling
        if text is not None:
            found = get(text)
            expect_true(
                f"the spelling of {self.law.name}: expected the same law from {text!r}",
                found == self.law,
                found.name,
            )

    def _draw(self, dtype: torch.dtype, **options: Any) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        return self.law.sample((self.samples,), generator=generator, dtype=dtype, device="cpu", **options)
