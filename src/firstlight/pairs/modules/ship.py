"""Make coefficients.json, the fits that the package ships: ``python -m firstlight.pairs.modules.ship``."""

from __future__ import annotations

import json
from pathlib import Path

from firstlight.pairs.exact.function import ExactActivation
from firstlight.pairs.exact.numbers import critical_split
from firstlight.pairs.exact.wright import weibull_partner
from firstlight.pairs.modules._coefficients import key, tail_power
from firstlight.pairs.modules._lawson import fit
from firstlight.weights import weibull

COMMON = (2.0, 2.05, 2.2, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0, 25.0)


def main() -> None:
    """Fit every common θ, odd, positive and critical, for both precisions."""
    out = {}
    for theta in COMMON:
        magnitude = weibull_partner(theta)
        for split in (0.5, 0.0, critical_split(magnitude, weibull(theta).variance)):
            for precise in (False, True):
                exact = ExactActivation(magnitude, split)
                made = fit(exact, tail_power=tail_power(theta), precise=precise)
                out[key(theta, split, precise)] = made.to_dict()
                print(key(theta, split, precise), f"{made.error:.1e} {made.slope_error:.1e}", flush=True)
    path = Path(__file__).with_name("coefficients.json")
    path.write_text(json.dumps(out, indent=None, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
