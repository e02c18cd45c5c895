"""Sentences that state an accuracy, each beside a second computation: python -m tests.referee.claims.

A claim names the file and the words of the sentence, so that a sentence that changes without its claim is found.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tests.referee import measures

from firstlight import pairs

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Claim:
    """A sentence of a file, the bound it states, and how large the error is by a second way."""

    name: str
    where: str
    words: str
    bound: float
    measure: Callable[[], float]

    def stands(self) -> bool:
        """Whether the file still says so, whatever its line breaks."""
        return " ".join(self.words.split()) in " ".join(
            (ROOT / self.where).read_text(encoding="utf-8").split()
        )


SIGNALS, PAIR, ICDF = (
    "docs/theory/signals.md",
    "src/firstlight/pairs/pair.py",
    "src/firstlight/weights/quantile.py",
)
PAGE, KERNELS = "docs/theory/pairs.md", "src/firstlight/theory/kernels/networks.py"
GAP, PSI = "src/firstlight/theory/batchnorm/gap.py", "src/firstlight/ensemble/samplers/_characteristic.py"
POINTS, PANELS = "src/firstlight/theory/maps/fixed_points.py", "src/firstlight/gauss/integral.py"
BINS = "src/firstlight/ensemble/sums/distance.py"
GRADIENTS = "src/firstlight/theory/batchnorm/gradients.py"
MELLIN = "src/firstlight/weights/transform.py"
ALL = ("odd", "positive", "critical")

CLAIMS = (
    Claim("pair, exact", PAIR, "``exact`` is right to a relative 1e-12", 1e-12, measures.exact_error),
    Claim("pair, float32", PAIR, "1.9e-6 in float32", 1.95e-6, lambda: measures.module_error(ALL, torch.float32)),
    Claim("pair, odd", PAIR, "9e-11 for odd pairs", 9.5e-11, lambda: measures.module_error(("odd",), torch.float64)),
    Claim("pair, odd from 2.5", PAIR, "(7e-13 from θ = 2.5 on)", 7.5e-13,
          lambda: measures.module_error(("odd",), torch.float64, above=2.5)),
    Claim("pair, critical", PAIR, "4e-9 for critical", 4.5e-9,
          lambda: measures.module_error(("critical",), torch.float64)),
    Claim("pair, positive", PAIR, "2e-8 for positive ones", 2.5e-8,
          lambda: measures.module_error(("positive",), torch.float64)),
    Claim("pair, float64 at −5", PAIR, "float64 module is off by .4 % at θ = 2.05", 4.5e-3,
          lambda: measures.at_minus_five(torch.float64)),
    Claim("pair, float32 at −5", PAIR, "the float32 module by 12 %", 0.125,
          lambda: measures.at_minus_five(torch.float32)),
    Claim("pair, page", PAGE, r"is below $2\cdot10^{-6}$ for every kind", 2e-6,
          lambda: measures.module_error(ALL, torch.float32)),
    Claim("pair, tail", PAGE, "the tail right to 2 %", 0.02, measures.tail_error),
    Claim("kernels, Hermite", KERNELS, "a Hermite series (relative error 1e-12)", 1e-12,
          lambda: max(measures.kernel_error("tanh", np.tanh, 5, 1.3),
                      measures.kernel_error("silu", measures.silu, 5, 1.3))),
    Claim("kernels, 100 layers", SIGNALS, "within 3e-12 of sums over both Gaussians", 3e-12,
          lambda: max(measures.kernel_error("tanh", np.tanh, 100, 1.3),
                      measures.kernel_error("silu", measures.silu, 100, 1.3))),
    Claim("kernels, ELU", SIGNALS, "any two variances (1e-12, at any variance)", 1e-12, measures.elu_error),
    Claim("map of z − ⌊z⌋", SIGNALS, "(z − ⌊z⌋: 1e-6,", 1.5e-6, measures.fractions_error),
    Claim("map of z − ⌊z⌋, stated", SIGNALS, "stated 3e-6)", 3.5e-6, lambda: measures.fractions_error(stated=True)),
    Claim("map of steps", SIGNALS, "over the angle of the correlation, right to 1e-11", 1e-11, measures.steps_error),
    Claim("fixed points", POINTS, "(1e-13 where V is exact)", 1e-13, measures.fixed_points_error),
    Claim("isometry gap", GAP, "The change in nats, to about 1e-13.", 1.5e-13, measures.gap_error),
    Claim("characteristic", PSI, "2e-9 on the range used here", 2.5e-9,
          measures.characteristic_error),
    Claim("log characteristic", PSI, "good to 3e-11", 3e-11,
          lambda: measures.characteristic_error(logarithm=True)),
    Claim("haar", "src/firstlight/weights/haar.py", "(1e-14 in float64)", 1e-14, measures.haar_error),
    Claim("icdf, cdf", ICDF, "(relative 1e-13 in the tail)", 1e-13, lambda: measures.quantile_error("cdf")),
    Claim("icdf, density", ICDF, "differences of fourth order for NumPy functions, 1e-9", 1e-9,
          lambda: measures.quantile_error("pdf")),
    Claim("icdf, moments", ICDF, "(1e-12 for analytic quantiles,", 1e-12, lambda: measures.quantile_error("moments")),
    Claim("icdf, kinks", ICDF, "1e-4 with kinks;", 1e-4, lambda: measures.quantile_error("kinks")),
    Claim("icdf, singular", ICDF, "1e-11 at −0.5 and 2e-8 at −0.9", 2e-8, lambda: measures.quantile_error("singular")),
    Claim("Mellin, cdf", MELLIN, "cdf 1e-8,", 1e-8, lambda: measures.mellin_error(density=False)),
    Claim("Mellin, density", MELLIN, "density 3e-7)", 3e-7, lambda: measures.mellin_error(density=True)),
    Claim("partner of an icdf", PAGE, r"icdf the Weibull partner is found to $10^{-8}$", 1e-8,
          measures.inverted_partner_error),
    Claim("native, narrow", PAGE, r"is $1.4\cdot10^{-7}$ for θ ≤ 2.2", 1.5e-7,
          lambda: measures.module_error(ALL, torch.float32, below=2.2, native=True)),
    Claim("native", PAGE, r"below $10^{-6}$ for every θ", 1e-6,
          lambda: measures.module_error(ALL, torch.float32, native=True)),
    Claim("quadrature", "src/firstlight/theory/designs/criticality.py", "the quadrature is right to 1e-13", 1e-13,
          measures.quadrature_error),
    Claim("hidden kink", PANELS, "beyond its last node, may cost 5e-6 std.", 5e-6, measures.hidden_kink_error),
    Claim("joined bins", BINS, "a second-order loss below 1e-6", 1e-6, measures.joined_bins_error),
    Claim("binned distance", "src/firstlight/ensemble/sums/streaming.py", "of the order of the bins, 2⁻¹¹, squared",
          4 * 2.0**-22, measures.binned_distance_error),
    Claim("slope at low rank", GRADIENTS, "good within 15 % for ranks from 5", 0.15, measures.degenerate_error),
    Claim("slope, Gaussian", GRADIENTS, "Within 30 % over layers 10 to 100", 0.3, measures.gaussian_error),
    Claim("kurtosis matching", "src/firstlight/pairs/kurtosis.py", "uniform weights remove 96 % for tanh", 0.005,
          lambda: abs(0.96 - (1 - pairs.match_kurtosis("tanh").remaining))),
)  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    """Print every claim: stated, measured, and how long the measurement took."""
    parser = argparse.ArgumentParser(prog="python -m tests.referee.claims", description=__doc__)
    parser.add_argument("--only", default="")
    only = parser.parse_args(arguments).only
    for claim in CLAIMS:
        if only in claim.name:
            start = time.process_time()
            try:
                measured = claim.measure()
            except pairs.BuildError:
                measured = math.nan  # no compiler, no native kernel
            verdict = "NOT SAID" if not claim.stands() else "true" if measured <= claim.bound else "TOO GOOD"
            verdict = "no tools" if math.isnan(measured) else verdict
            spent = time.process_time() - start
            print(
                f"{verdict:8} {claim.name:24} {measured:9.2e} of {claim.bound:9.2e}  {spent:5.1f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
