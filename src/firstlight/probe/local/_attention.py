"""Attention: what theory expects of the rows of attention, from the logits and values that were measured."""

from __future__ import annotations

import math

from firstlight.gauss.softmax import shares
from firstlight.probe.graph._site import Site

# Wider logits pick single keys, and their integrals take seconds.
WIDEST = 9.0


def attention_theory(site: Site) -> None:
    r"""Fill in the second moment and the tokens' correlation that theory gives a row of attention.

    .. math:: q' = q_V [ρ + (1-ρ) E \sum_s p_s^2], \qquad q'(1-ρ') = q_V (1-ρ) E \sum_s p_s (p_s - p'_s)

    The row of a fused kernel is the mixed values, of second moment q_V and correlation ρ between tokens; the row of a
    softmax is the weights p themselves, of mean square E Σ p²/T. Logits are normal, as in `theory.AttentionMap`.
    """
    values = site.values
    keys, spread, queries = (values.get(name) for name in ("keys", "logit_variance", "query_correlation"))
    if keys is None or spread is None or queries is None or not 0.0 < spread <= WIDEST:
        return
    # a digit or two of each is known from a batch, and integrals at the same numbers are shared
    found = shares(int(keys), float(f"{spread:.3g}"), min(max(round(queries, 3), -1.0 / (keys - 1)), 1.0))
    if "value_q" not in values:
        values["q_theory"] = found.own / keys
        return
    rho = values.get("value_correlation", math.nan)
    square = rho + (1.0 - rho) * found.own
    if square > 0.0:
        values["q_theory"] = values["value_q"] * square
        values["token_correlation_theory"] = 1.0 - (1.0 - rho) * found.apart / square
