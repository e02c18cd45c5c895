"""diagnose: every rule over one measurement, the gravest verdict first."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from firstlight.diagnosis.catalogue import verdict
from firstlight.diagnosis.findings import Findings, factor
from firstlight.diagnosis.rules._axes import axis_verdicts
from firstlight.diagnosis.rules._gradients import (
    OPTIMISERS,
    WARNING,
    gradient_verdicts,
    holds_for,
    walk_verdicts,
)
from firstlight.diagnosis.rules._losses import loss_verdicts, without_echoes
from firstlight.diagnosis.rules._parameters import parameter_verdicts
from firstlight.diagnosis.rules._propagation import (
    ALIKE,
    SIGNAL_WARNING,
    TENTH,
    propagation_verdicts,
)
from firstlight.diagnosis.rules._seen import not_judged
from firstlight.diagnosis.rules._sizes import size_verdicts
from firstlight.diagnosis.rules._structure import structure_verdicts
from firstlight.diagnosis.rules._time import time_verdicts
from firstlight.diagnosis.rules._units import unit_verdicts
from firstlight.diagnosis.verdict import Verdict
from firstlight.errors import DomainError
from firstlight.probe.measurement import Measurement

# words by which a sentence of evidence already names an optimiser
_SPOKEN = "such as Adam"
_ORDER = {"unhealthy": 0, "not judged": 1, "warning": 2, "note": 3, "healthy": 4}


def diagnose(measurement: Measurement, *, optimiser: str | None = None) -> tuple[Verdict, ...]:
    """The verdicts on a measured model, the gravest first.

    A model of which enough was seen, with nothing unhealthy and no warning, gets one verdict of severity
    ``"healthy"``.

    Parameters
    ----------
    measurement
        What ``firstlight.probe.probe`` gave.
    optimiser
        The optimiser that the verdicts are for: ``"sgd"`` (plain gradient descent), ``"adam"`` (adaptive optimisers),
        or None for both. With None the graver verdict counts, and the evidence names the optimiser.

    Returns
    -------
    tuple of Verdict
        Never empty.

    Raises
    ------
    DomainError
        If the optimiser is not one of these.

    Examples
    --------
    >>> import torch
    >>> from firstlight.diagnosis import diagnose
    >>> from firstlight.probe import probe
    >>> net = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 8))
    >>> _ = torch.nn.init.ones_(net[0].weight)
    >>> "constant-weights" in {v.code for v in diagnose(probe(net, torch.randn(16, 8)))}
    True
    """
    if optimiser is not None and optimiser not in OPTIMISERS:
        raise DomainError(
            f"while diagnosing: expected optimiser {' or '.join(map(repr, OPTIMISERS))} or None, got {optimiser!r}"
        )
    verdicts = _found(measurement, optimiser)
    if optimiser is None:
        verdicts = _for_whom(measurement, verdicts)
    if not any(v.severity in ("unhealthy", "not judged", "warning") for v in verdicts):
        verdicts.append(_healthy(Findings(measurement, optimiser)))
    return tuple(verdicts)


def _found(measurement: Measurement, optimiser: str | None) -> list[Verdict]:
    """What every rule says, the gravest first."""
    findings = Findings(measurement, optimiser)
    verdicts = [
        *not_judged(measurement),
        *parameter_verdicts(findings),
        *loss_verdicts(findings),
        *gradient_verdicts(findings),
        *walk_verdicts(findings),
        *propagation_verdicts(findings),
        *time_verdicts(findings),
        *axis_verdicts(findings),
        *unit_verdicts(findings),
        *structure_verdicts(findings),
        *size_verdicts(findings),
    ]
    verdicts = without_echoes(verdicts)
    verdicts.sort(key=lambda v: _ORDER[v.severity])
    return verdicts


def _for_whom(measurement: Measurement, verdicts: list[Verdict]) -> list[Verdict]:
    """The verdicts, with the optimiser named where only one of the two kinds makes a verdict unhealthy."""
    told = [v for v in verdicts if v.severity != "unhealthy" or _SPOKEN in v.evidence]
    if len(told) == len(verdicts):
        return verdicts
    grave = {
        name: {v.code for v in _found(measurement, name) if v.severity == "unhealthy"} for name in OPTIMISERS
    }
    named = []
    for v in verdicts:
        held = [name for name, codes in grave.items() if v.code in codes]
        if v not in told and len(held) == 1:
            v = replace(v, evidence=v.evidence + holds_for(held, "forgive it"))
        named.append(v)
    return named


def _healthy(f: Findings) -> Verdict:
    parts = []
    # a change beyond the line may come from chance: then it is no finding, and no figure for a healthy network either
    if f.gradient is not None and abs(f.gradient.total) <= WARNING:
        parts.append(f"the gradient norm changes by a factor {factor(abs(f.gradient.total))} over the depth")
    # nor is a range beyond the lines on signals, which layers apart from one chain may have
    rows = f.hidden()
    q = rows["q"][np.isfinite(rows["q"]) & (rows["q"] > 0)]
    if len(q) and math.log(q.max() / q.min()) <= SIGNAL_WARNING:
        parts.append(f"q of the hidden layers stays between {q.min():.3g} and {q.max():.3g}")
    c = rows["correlation"]
    c = c[np.isfinite(c)]
    if len(c) > 1 and (c[-1] < ALIKE or 1.0 - c[0] < TENTH * (1.0 - c[-1])):
        parts.append(f"the correlation between inputs goes from {c[0]:.2f} to {c[-1]:.2f}")
    if not len(f.profile):
        parts.append("no layer was measured")
    evidence = "No rule found a fault: " + "; ".join(parts) + "." if parts else "No rule found a fault."
    return verdict("healthy", "healthy", evidence)
