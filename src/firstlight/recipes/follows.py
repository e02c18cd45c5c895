"""Which usual start the weights of an audited model seem to follow, by their scale and the shape of their law."""

from __future__ import annotations

import math
from collections import Counter

from firstlight.profile import Profile

_SIGMAS = 5.0  # standard errors that a scale or a kurtosis may be off
_LEAST = 256  # entries of a weight below which nothing is said


def followed(profile: Profile) -> str:
    """The start that most weights seem to follow, with their share; empty where fewer than half follow one.

    Scale and excess kurtosis of the entries are compared, within five standard errors, with torch's default, Glorot,
    He and LeCun, normal and uniform, and with weights of one standard deviation, such as GPT-2's .02.

    Parameters
    ----------
    profile
        The profile of an audit.

    Examples
    --------
    >>> import torch, firstlight
    >>> from firstlight.recipes import followed
    >>> net = torch.nn.Sequential(*[torch.nn.Linear(64, 64) for _ in range(4)])
    >>> _ = firstlight.initialise_(net, "he", generator=torch.Generator().manual_seed(0))
    >>> followed(firstlight.audit(net, torch.randn(8, 64)).profile)
    'he (4 of 4 weights)'
    """
    found: Counter[str] = Counter()
    judged = 0
    stds: list[tuple[float, int]] = []
    for row in range(len(profile)):
        if str(profile["kind"][row]) != "weight":
            continue
        shape = [int(n) for n in str(profile["weight_shape"][row]).split("×") if n.isdigit()]
        entries, fan_in = math.prod(shape), float(profile["fan_in"][row])
        sigma_w, kurtosis = float(profile["sigma_w"][row]), float(profile["weight_kurtosis"][row])
        if entries < _LEAST or not (math.isfinite(sigma_w) and math.isfinite(kurtosis) and fan_in > 0):
            continue
        judged += 1
        stds.append((sigma_w / math.sqrt(fan_in), entries))
        fan_out = entries / fan_in
        for name, square, law in _starts(fan_in, fan_out):
            found[name] += _agrees(sigma_w**2, square, kurtosis, law, entries)
    if judged >= 3:
        common = max(stds, key=lambda pair: pair[1])[0]
        near = sum(abs(std / common - 1) < _SIGMAS / math.sqrt(2 * entries) + 2e-3 for std, entries in stds)
        found[f"one standard deviation {common:.2g}"] = near
    if not judged or not found or 2 * found.most_common(1)[0][1] < judged:
        return ""
    name, count = found.most_common(1)[0]  # of equals the first one that was counted: a start by its fans
    return f"{name} ({count} of {judged} weights)"


def _starts(fan_in: float, fan_out: float) -> list[tuple[str, float, float]]:
    """Name, σ_w² and excess kurtosis of the usual starts."""
    glorot = 2 * fan_in / (fan_in + fan_out)
    return [
        ("torch-default", 1 / 3, -1.2),
        ("he", 2.0, 0.0),
        ("he(law='uniform')", 2.0, -1.2),
        ("glorot", glorot, -1.2),
        ("glorot(law='normal')", glorot, 0.0),
        ("lecun", 1.0, 0.0),
        ("flax-default", 1.0, -0.63),
    ]


def _agrees(square: float, wanted: float, kurtosis: float, law: float, entries: int) -> bool:
    error = wanted * math.sqrt((law + 2.0) / entries)
    # the sampling error of a kurtosis is √(24/N) for a normal law, and less for lighter tails
    shape = _SIGMAS * math.sqrt(24.0 / entries) + 0.05
    return abs(square - wanted) < _SIGMAS * error + 1e-3 * wanted and abs(kurtosis - law) < shape
