"""A pair: an activation and a weight law for which W φ(X) ~ N(0,1) whenever X ~ N(0,1)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import nn

from firstlight.clean_room import clean
from firstlight.doors import checked
from firstlight.errors import DomainError
from firstlight.pairs.exact.check import PairCheck, check
from firstlight.pairs.exact.function import ExactActivation
from firstlight.pairs.exact.numbers import critical_split
from firstlight.pairs.exact.wright import weibull_partner
from firstlight.pairs.initialise import Initialised, initialise_
from firstlight.pairs.modules._coefficients import is_ready, weibull_fit
from firstlight.pairs.modules._lawson import local_power
from firstlight.pairs.modules.activation import ExactModule, PairActivation
from firstlight.weights import WeightLaw
from firstlight.weights import weibull as weibull_law
from firstlight.weights.law import written

_KINDS = ("odd", "positive", "critical")


@dataclass(frozen=True)
class Pair:
    """An activation φ and a symmetric weight law P with W φ(X) ~ N(0,1) for X ~ N(0,1), W ~ P.

    Attributes
    ----------
    name
        How reports name it.
    weights
        The law P. The law is not normalised: E W² · E φ(X)² = 1.
    exact
        φ on NumPy arrays, with two derivatives, to float64's last digits.
    activation
        φ as a module for networks.

    Examples
    --------
    >>> from firstlight import pairs
    >>> pair = pairs.weibull(3.0, kind="odd")
    >>> pair.check().passed
    True
    """

    name: str
    weights: WeightLaw
    exact: ExactActivation
    activation: nn.Module = field(repr=False)

    def __repr__(self) -> str:
        from firstlight.render.brief import one_line

        return one_line("Pair", name=self.name, weights=self.weights, split=float(self.split))

    def _repr_html_(self) -> str:
        """What the pair does to signals and gradients as a table, for a notebook."""
        from firstlight.render.brief import small_table
        from firstlight.render.table import Head

        found = self.check()
        rows = [(line,) for line in str(found).splitlines()]
        return small_table([Head(self.name, text=True)], rows)

    @property
    def split(self) -> float:
        """The share of X on which φ is negative: ½ odd, 0 positive."""
        return self.exact.split

    def check(self) -> PairCheck:
        """The constraints a pair obeys, each with its number, and what the pair does to gradients."""
        return check(self.weights, self.exact)

    def native(self) -> Pair:
        """The same pair with its activation compiled for this machine: float32 on the CPU at about the cost of tanh.

        The first call builds the kernel in about a second, with the C++ compiler of the machine, and keeps it in the
        user's cache. Everything that the kernel does not do goes through the pure module.

        Raises
        ------
        BuildError
            No C++ compiler, or one that fails; the pair itself stays as it is.
        DomainError
            An activation too rough for the kernel's table.
        """
        from firstlight.pairs.modules.native import NativeActivation

        phi = self.activation
        if isinstance(phi, PairActivation):
            power = phi.single.pieces[0].power
        elif isinstance(phi, ExactModule):
            power = local_power(self.exact)
        else:
            return self  # the identity, or native already
        return replace(self, activation=NativeActivation(phi, self.exact, tail_power=power))

    def initialise_(
        self,
        model: nn.Module,
        *,
        first_layer: str | WeightLaw = "normal",
        generator: torch.Generator | None = None,
    ) -> Initialised:
        """Write pair weights into every Linear and ConvNd of a model, in place; see ``pairs.initialise_``."""
        return initialise_(model, self.weights, first_layer=first_layer, generator=generator)


@checked
@clean
def weibull(theta: float, *, kind: str = "odd", split: float | None = None) -> Pair:
    """The pair of symmetric Weibull(θ) weights, exact for every θ in [2, ∞].

    Parameters
    ----------
    theta
        Shape of the weights, 2 ≤ θ ≤ ∞. θ = 2 has bounded φ, θ = ∞ is Rademacher weights and the identity.
    kind
        ``"odd"``, ``"positive"``, or ``"critical"``: φ negative on the share p* of X that makes χ₁ = 1.
    split
        That share, chosen freely in [0, 1); replaces ``kind``.

    Raises
    ------
    DomainError
        θ < 2 or NaN, an unknown kind, or a split outside [0, 1).
    FitError
        A θ that is not shipped, whose fit takes longer than five minutes (0.3 to 4 s on one idle core).

    Notes
    -----
    ``exact`` is right to a relative 1e-12. ``activation`` is accurate in absolute terms. Measured on [−12, 12]: 1.9e-6
    in float32; in float64 9e-11 for odd pairs (7e-13 from θ = 2.5 on), 4e-9 for critical and 2e-8 for positive ones,
    each worst next to θ = 2. So the small values of a positive φ have few digits: at x = −5, where φ is 6e-7, the
    float64 module is off by .4 % at θ = 2.05 and the float32 module by 12 %.

    References
    ----------
    Wolinski & Arbel, Gaussian Pre-Activations in Neural Networks: Myth or Reality?, TMLR 2025; the exact law
    of φ and the critical split are derived in the theory chapter on pairs.

    Examples
    --------
    >>> from firstlight import pairs
    >>> round(pairs.weibull(3.0, kind="critical").split, 4)
    0.3443
    """
    if not isinstance(theta, float | int):
        raise DomainError(
            f"while building the Weibull pair: expected theta, a number in [2, inf], got {theta!r}; give the shape "
            "of the weights"
        )
    magnitude = weibull_partner(float(theta))
    law = weibull_law(float(theta))
    if split is None:
        if kind not in _KINDS:
            raise DomainError(
                f"while building the Weibull pair: expected kind 'odd', 'positive' or 'critical', got {kind!r}; "
                "or give the share of X where φ is negative as split="
            )
        shares = {"odd": 0.5, "positive": 0.0}
        split = shares[kind] if kind in shares else critical_split(magnitude, law.variance)
        label = kind
    else:
        label = f"split {split:.4g}"
    exact = ExactActivation(magnitude, float(split))
    return Pair(f"Weibull(θ={theta:g}), {label}", law, exact, _module(exact, float(theta), label))


def _module(exact: ExactActivation, theta: float, label: str) -> nn.Module:
    if math.isinf(theta) and exact.split == 0.5:
        return nn.Identity()
    single = weibull_fit(exact, theta, precise=False)
    fine = partial(weibull_fit, exact, theta, precise=True)
    spelling = f"weibull-{label}({written(theta)})" if label in _KINDS else None
    module = PairActivation(exact, single, fine, f"theta={theta:g}, {label}", spelling)
    if is_ready(exact, theta, precise=True):
        _ = module.fine
    return module


@clean
def from_exact(name: str, law: WeightLaw, exact: ExactActivation, *, spelling: str | None = None) -> Pair:
    """A pair from its parts, with the slow exact module; ``spelling`` is the text that ``pairs.by_name`` reads."""
    return Pair(name, law, exact, ExactModule(exact, spelling))
