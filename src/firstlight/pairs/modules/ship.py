"""Make coefficients.json, the fits that the package ships: ``python -m firstlight.pairs.modules.ship``."""

from __future__ import annotations

import json
from pathlib import Path

from firstlight.files.plain_data import Record
from firstlight.pairs.exact.function import ExactActivation
from firstlight.pairs.exact.numbers import critical_split
from firstlight.pairs.exact.wright import weibull_partner
from firstlight.pairs.modules._coefficients import key, tail_power
from firstlight.pairs.modules._lawson import fit, shortened
from firstlight.weights import weibull

COMMON = (
    2.0, 2.05, 2.1, 2.2, 2.3, 2.5, 2.75, 3.0, 3.5, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 15.0, 25.0, 50.0,
)  # fmt: skip


def main() -> None:
    """Fit every common θ that the file lacks, odd, positive and critical, for both precisions."""
    path = Path(__file__).with_name("coefficients.json")
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    out = {}
    for theta in COMMON:
        magnitude = weibull_partner(theta)
        for split in (0.5, 0.0, critical_split(magnitude, weibull(theta).variance)):
            for precise in (False, True):
                name = key(theta, split, precise)
                out[name] = before.get(name) or _made(
                    ExactActivation(magnitude, split), theta, precise=precise
                )
                print(name, f"{out[name]['error']:.1e} {out[name]['slope_error']:.1e}", flush=True)
    path.write_text(json.dumps(out, indent=None, separators=(",", ":")) + "\n", encoding="utf-8")


def _made(exact: ExactActivation, theta: float, *, precise: bool) -> Record:
    """A fit; for float32 with nine digits, which single precision holds, and the errors that are left with them."""
    made = fit(exact, tail_power=tail_power(theta), precise=precise)
    return (made if precise else shortened(made, exact)).to_dict()


if __name__ == "__main__":
    main()
