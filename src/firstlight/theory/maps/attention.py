"""Attention at initialisation as a map of two numbers: the tokens' second moment and their correlation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from firstlight.errors import DomainError
from firstlight.gauss.softmax import Shares, shares

# Wider logits attend to single tokens, and cost seconds.
_WIDEST = 100.0


@dataclass(frozen=True)
class AttentionPath:
    """Tokens layer by layer, from the input on.

    Attributes
    ----------
    q
        Mean square of a token's entries.
    correlation
        Cosine between two tokens.
    participation
        T·E Σ_s p_s², 1 for uniform attention and T for attention to a single token; NaN for the last entry.
    error
        Estimated error of the means over the softmax, relative to them; NaN for the last entry.
    """

    q: np.ndarray
    correlation: np.ndarray
    participation: np.ndarray
    error: np.ndarray


@dataclass(frozen=True, kw_only=True)
class AttentionMap:
    r"""One layer of softmax attention on T equicorrelated tokens, of many channels and with random weights.

    .. math::
        q' = s^2 q + a^2 C_V C_U\, \hat q\, \Big[ρ + (1-ρ)\, E \sum_s p_s^2\Big], \qquad
        q'ρ' = s^2 qρ + a^2 C_V C_U\, \hat q\, \Big[ρ + (1-ρ)\, E \sum_s p_s p'_s\Big], \qquad
        t^2 = C_Q C_K\, \hat q^2 (1 - ρ)

    Logits over √channels are Gaussian of variance t² once what they share is left out, and two queries' logits
    have the correlation ρ of the queries; p and p' are the attention of two queries. :math:`\hat q` is 1 behind a
    normaliser (``pre_norm``), else q. The means over p are exact at any T: integrals over the softmax's
    denominators. For :math:`e^{t^2}` far below T they tend to :math:`e^{t^2}/T` and :math:`e^{ρ t^2}/T`.

    Without skip, tokens become equal at a rate beyond any exponential: 1 − ρ' ≈ (1 − 1/T) C_Q C_K (1 − ρ)³/T near 1.

    Parameters
    ----------
    tokens
        T, at least 1.
    query, key, value, output
        C_Q, C_K, C_V and C_U: fan-in times the variance of the weights.
    skip, branch
        s and a.
    pre_norm
        Whether a normaliser stands before the attention.

    Raises
    ------
    DomainError
        A number outside its domain.

    Notes
    -----
    Rank collapse: Dong, Cordonnier and Loukas (2021); Noci et al. (2022).

    Examples
    --------
    >>> from firstlight.theory import AttentionMap
    >>> path = AttentionMap(tokens=64).path(depth=3, correlation=0.2)
    >>> path.correlation.round(4).tolist()
    [0.2, 0.948, 1.0, 1.0]
    """

    tokens: int
    query: float = 1.0
    key: float = 1.0
    value: float = 1.0
    output: float = 1.0
    skip: float = 0.0
    branch: float = 1.0
    pre_norm: bool = True

    def __post_init__(self) -> None:
        if self.tokens < 1:
            raise DomainError(f"while describing attention: expected at least one token, got {self.tokens}")
        for name in ("query", "key", "value", "output"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise DomainError(
                    f"while describing attention: expected a finite variance {name} ≥ 0, got {getattr(self, name)}"
                )

    def step(self, q: float, correlation: float) -> tuple[float, float, float]:
        """q', ρ' and T·E Σ p² after one layer.

        Raises
        ------
        DomainError
            q ≤ 0, a correlation that T tokens cannot have, or logits of two or more tokens of a variance t² above 100.
        """
        after, rho, found = self._step(q, correlation)
        return after, rho, self.tokens * found.own

    def _step(self, q: float, correlation: float) -> tuple[float, float, Shares]:
        rho, n = float(correlation), self.tokens
        if not (q > 0 and math.isfinite(q)):
            raise DomainError(f"while propagating through attention: expected q > 0, got {q}")
        lowest = -1 / (n - 1) if n > 1 else -1.0
        if not lowest - 1e-12 <= rho <= 1:
            raise DomainError(
                f"while propagating through attention: expected a correlation in [{lowest:.4g}, 1] of {n} tokens, got "
                f"{correlation}"
            )
        seen = 1.0 if self.pre_norm else float(q)
        spread = self.query * self.key * seen**2 * (1 - rho)
        own, through = self.skip**2 * q, self.branch**2 * self.value * self.output * seen
        # one token attends to itself, whatever its logit
        if n > 1 and not spread <= _WIDEST:
            raise DomainError(
                f"while propagating through attention: expected logits of variance t² ≤ {_WIDEST:g}, got {spread:.4g}; "
                "attention goes to single tokens there: lower query or key"
            )
        found = shares(n, spread, max(rho, -1.0))
        after = own + through * (rho + (1 - rho) * found.own)
        lost = (own * (1 - rho) + through * (1 - rho) * found.apart) / after if after > 0 else 0.0
        return after, 1 - lost, found

    def path(self, *, depth: int, q: float = 1.0, correlation: float = 0.0) -> AttentionPath:
        """Tokens through ``depth`` layers."""
        qs, rhos, spread, errors = [float(q)], [float(correlation)], [], []
        for _ in range(depth):
            after, rho, found = self._step(qs[-1], rhos[-1])
            qs.append(after)
            rhos.append(rho)
            spread.append(self.tokens * found.own)
            errors.append(found.error)
        return AttentionPath(
            np.array(qs), np.array(rhos), np.array([*spread, math.nan]), np.array([*errors, math.nan])
        )
