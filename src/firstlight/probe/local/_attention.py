"""Attention: what theory expects of the rows of attention, from the logits and values that were measured."""

from __future__ import annotations

import math

from firstlight.errors import DomainError
from firstlight.probe.graph._site import Site
from firstlight.theory import AttentionMap

# Wider logits pick single keys, and their integrals take seconds.
WIDEST = 9.0


def attention_theory(site: Site) -> None:
    """Fill in the second moment and the tokens' correlation that `theory.AttentionMap` gives a row of attention.

    The row of a fused kernel is the mixed values, whose law starts from that of the values; the row of a softmax is
    the weights p themselves, of mean square E Σ p²/T.
    """
    values = site.values
    keys, spread = values.get("keys"), values.get("logit_variance")
    if keys is None or not 0.0 < spread <= WIDEST:
        return
    mixes = "value_q" in values
    rho = values.get("value_correlation" if mixes else "query_correlation", math.nan)
    rho = min(max(rho, 1e-6 - 1.0 / (keys - 1)), 1.0 - 1e-9)
    if math.isnan(rho):
        return
    # two queries of one correlation give as many logits: a digit of each is known from a batch
    attention = AttentionMap(tokens=int(keys), query=_short(spread) / (1.0 - rho))
    try:
        after, alike, participation = attention.step(1.0, rho)
    except DomainError:
        return
    if mixes:
        values["q_theory"] = values["value_q"] * after
        values["token_correlation_theory"] = alike
    else:
        values["q_theory"] = participation / keys**2


def _short(value: float) -> float:
    """A number with three digits."""
    return float(f"{value:.3g}")
