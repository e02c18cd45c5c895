"""Weight laws that belong to an activation: those of the Gaussian pairs, and those that cancel the kurtosis."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from firstlight import activations, pairs, weights
from firstlight.errors import DomainError
from firstlight.recipes.recipe import Draft, Need, Recipe


@dataclass(frozen=True)
class PairLaw(Recipe):
    r"""Weights of the pair (P, φ): with W ~ P and X ~ N(0,1) also W φ(X) ~ N(0,1).

    The first weight is normal, so that its pre-activations are N(0,1) for inputs with q = 1; the others have entries
    W/√fan-in with the symmetric Weibull law P(|W| > t) = exp(−t^θ), which is not scaled to variance 1. Activations must
    be those of the pair: the recipe says where they are not.

    Attributes
    ----------
    theta
        θ > 2.
    """

    theta: float = 3.0
    word: ClassVar[str] = "pair"
    purpose: ClassVar[str] = "networks with the activation of a Weibull pair: pre-activations stay N(0,1)"
    needs: ClassVar[tuple[Need, ...]] = ("graph",)
    source: ClassVar[str] = "Wolinski & Arbel, TMLR 2025"

    def draft(self, draft: Draft) -> None:
        """Every weight that reads an activation, and the first one."""
        law = weights.weibull(self.theta)
        for slot in draft.blueprint.slots:
            if slot.kind == "embedding" or slot.reads != "activation":
                draft.draw(slot, 1.0, "reads no activation")
                continue
            why = f"pair with θ = {self.theta:g}"
            if not _is_partner(slot.phi, self.theta):
                name = "an activation that is not known" if slot.phi is None else slot.phi.name
                why += f", although it reads {name}, which is not φ of this pair"
            draft.draw(slot, math.sqrt(law.variance), why, law=law)


def _is_partner(phi: activations.Activation | None, theta: float) -> bool:
    if phi is None:
        return False
    for kind in ("odd", "positive"):
        try:
            wanted = activations.get(pairs.by_name(f"weibull-{kind}({theta!r})").activation)
        except (DomainError, ValueError):
            continue
        at = activations.moments(phi, 1.0), activations.moments(wanted, 1.0)
        if all(abs(float(getattr(at[0], k) - getattr(at[1], k))) < 1e-3 for k in ("mean", "second", "slope")):
            return True
    return False


@dataclass(frozen=True)
class KurtosisMatched(Recipe):
    r"""Weight laws whose fourth moment cancels the excess kurtosis of pre-activations at finite width.

    .. math:: κ_4 = (k_w\, ρ_4 - 3)/n = 0, \qquad k_w = 3/ρ_4, \quad ρ_4 = Eφ^4/(Eφ^2)^2

    The scale is that of the second moment, σ_w = 1/√E φ². Activations with ρ₄ > 3 (ReLU has 6) have no such law: their
    weights are normal, and the reason says so.
    """

    word: ClassVar[str] = "kurtosis-matched"
    purpose: ClassVar[str] = "narrow networks of bounded activations: pre-activations closer to Gaussian"
    needs: ClassVar[tuple[Need, ...]] = ("graph",)
    source: ClassVar[str] = "Edgeworth correction of a finite sum (catalogue 20, derived)"

    def draft(self, draft: Draft) -> None:
        """Every weight."""
        laws: dict[str, tuple[weights.WeightLaw | str, str]] = {}
        for slot in draft.blueprint.slots:
            if slot.kind == "embedding" or slot.phi is None or slot.reads != "activation":
                draft.draw(slot, 1.0, "reads no activation")
                continue
            if slot.phi.name not in laws:
                laws[slot.phi.name] = _matched(slot.phi)
            law, why = laws[slot.phi.name]
            draft.draw(slot, float(activations.gain(slot.phi)), why, law=law)


def _matched(phi: activations.Activation) -> tuple[weights.WeightLaw | str, str]:
    try:
        match = pairs.match_kurtosis(phi)
    except DomainError:
        return "normal", f"no symmetric law cancels the kurtosis of {phi.name}"
    return match.law, f"k_w = {match.law.excess_kurtosis + 3:.4g} = 3/ρ₄ of {phi.name}"
