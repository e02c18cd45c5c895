"""Analysis: how well each score told, before training, which starts would fail."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from firstlight.experiments.verdicts.outcomes import TRIED, Outcome
from firstlight.experiments.verdicts.scores import Score
from firstlight.experiments.verdicts.starts import part

Half = Literal["training", "held out", "fresh", "new kinds", "all"]
# an architecture none of whose starts learns this share of what a guess leaves says nothing about starts
LEARNABLE = 0.1
FAILED = 0.5  # share of the best known start's progress below which a start failed
STUCK = 0.9  # share of a guess's loss above which a start is no better than a guess
_DRAWS = 400


@dataclass(frozen=True)
class Case:
    """A start with its score, and whether it failed.

    Attributes
    ----------
    start, score
        Which, and what was said of it.
    failed
        Whether the start lowered the loss by less than half of what the best known start of the architecture lowered
        it by. Each start trains at its best rate, by the same optimiser.
    progress
        The share of that progress that the start made, at most 1, at least 0.
    stuck
        Whether the last loss is above nine tenths of a guess's, whatever other starts reach.
    """

    start: str
    score: Score
    failed: bool
    progress: float
    stuck: bool = False


@dataclass(frozen=True)
class End:
    """How one start ended by one optimiser.

    Attributes
    ----------
    start
        Which.
    share
        What it took away of a guess's loss, as a share of what the best start of the architecture took away.
    last
        Its last loss, in guesses.
    """

    start: str
    share: float
    last: float


@dataclass(frozen=True)
class Curve:
    """How a score ranks failed starts above others.

    Attributes
    ----------
    name, optimiser
        Which score, and who trained.
    auc, low, high
        Area under the ROC curve, with the 95 % interval over bootstrap draws of architectures.
    scored
        The share of starts that have a score; the others count as the median.
    """

    name: str
    optimiser: str
    auc: float
    low: float
    high: float
    scored: float


@dataclass(frozen=True)
class Rates:
    """How often a verdict is wrong.

    Attributes
    ----------
    name, optimiser
        A code, or ``"unhealthy"`` for the verdict as a whole.
    flagged, failed
        Starts that the verdict was given to, and how many of them failed.
    false_alarms, false_low, false_high
        Of the starts that did not fail, the share that was flagged, with its 95 % interval.
    misses, miss_low, miss_high
        Of the starts that failed, the share that was not flagged, with its interval. One code is not meant to find
        every failure: for a code the share says what the others have to find.
    """

    name: str
    optimiser: str
    flagged: int
    failed: int
    false_alarms: float
    false_low: float
    false_high: float
    misses: float
    miss_low: float
    miss_high: float


def cases(
    outcomes: Sequence[Outcome],
    scores: Sequence[Score],
    optimiser: str,
    half: Half = "all",
    *,
    learnable: float = LEARNABLE,
) -> list[Case]:
    """The starts with a score, of one part of the architectures, where some start learns the share ``learnable``."""
    known = {one.start: one for one in scores}
    chosen = [o for o in outcomes if half in ("all", part(int(o.start.split(".")[0])))]
    return [
        Case(end.start, known[end.start], end.share < FAILED, min(max(end.share, 0.0), 1.0), end.last > STUCK)
        for end in ends(chosen, optimiser, learnable=learnable)
        if end.start in known
    ]


def ends(outcomes: Sequence[Outcome], optimiser: str, *, learnable: float = LEARNABLE) -> list[End]:
    """How every start ended beside the best start of its architecture, of architectures that some start trains."""
    by: dict[int, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        by[int(outcome.start.split(".")[0])].append(outcome)
    found = []
    for _, mine in sorted(by.items()):
        guess = mine[0].guess
        best = min(outcome.best(optimiser) for outcome in mine)
        if guess - best < learnable * guess:
            continue
        reach = max(guess - best, 1e-12)
        found += [
            End(one.start, (guess - one.best(optimiser)) / reach, one.best(optimiser) / guess) for one in mine
        ]
    return found


def area(values: Float[np.ndarray, " n"], failed: Bool[np.ndarray, " n"]) -> float:
    """Area under the ROC curve: the chance that a failed start has the larger value, ties counting one half.

    Examples
    --------
    >>> import numpy as np
    >>> area(np.array([3.0, 2.0, 1.0, 0.0]), np.array([True, False, True, False]))
    0.75
    """
    bad, good = np.sort(values[failed]), np.sort(values[~failed])
    if not len(bad) or not len(good):
        return math.nan
    below = np.searchsorted(good, bad, "left") + np.searchsorted(good, bad, "right")
    return float(below.sum() / (2 * len(bad) * len(good)))


def score_functions(optimiser: str, known: Sequence[Case]) -> dict[str, Callable[[Score], float]]:
    """Every score by its name: verdict, severities, trials, the audit's measures, the rivals."""
    found: dict[str, Callable[[Score], float]] = {
        "unhealthy": lambda s: float(s.verdict(optimiser) >= 2),
        "verdict (healthy, warning, unhealthy)": lambda s: float(s.verdict(optimiser)),
        "severity": lambda s: s.severity(optimiser),
        "severity and the tangent kernel's condition": lambda s: s.conditioned(optimiser),
        "verdict and the tangent kernel's alignment": lambda s: s.aligned(optimiser),
    }
    for steps in TRIED:
        found[f"verdict and a trial of {steps} steps"] = lambda s, n=steps: (  # type: ignore[misc]
            s.verdict(optimiser) + s.learning(optimiser, n)
        )
    found[f"a trial of {TRIED[-1]} steps"] = lambda s: s.learning(optimiser, TRIED[-1])
    names = {name: "measures" for case in known for name in case.score.measures}
    names |= {name: "rivals" for case in known for name in case.score.rivals}
    for name, kind in names.items():
        found[name] = lambda s, n=name, k=kind: getattr(s, k).get(n, math.nan)  # type: ignore[misc]
    return found


def curves(known: Sequence[Case], optimiser: str, *, seed: int = 0) -> list[Curve]:
    """The area of every score, with intervals over architectures drawn with replacement."""
    failed = np.array([case.failed for case in known])
    groups = by_architecture([case.start for case in known])
    found = []
    for name, function in score_functions(optimiser, known).items():
        values = np.array([function(case.score) for case in known])
        scored = float(np.mean(~np.isnan(values)))
        middle = float(np.nanmedian(values)) if scored else 0.0
        values = np.where(np.isnan(values), middle, values)
        draws = [area(values[rows], failed[rows]) for rows in _draws(groups, seed)]
        low, high = np.nanquantile(draws, (0.025, 0.975))
        found.append(Curve(name, optimiser, area(values, failed), float(low), float(high), scored))
    return found


def rates(known: Sequence[Case], optimiser: str, *, seed: int = 0) -> list[Rates]:
    """False alarms and misses of the verdict as a whole, then of every code with an unhealthy verdict or a warning."""
    failed = np.array([case.failed for case in known])
    groups = by_architecture([case.start for case in known])
    flags: dict[str, np.ndarray] = {
        "unhealthy": np.array([case.score.verdict(optimiser) >= 2 for case in known])
    }
    given = sorted({(f.code, f.severity) for case in known for f in case.score.findings[optimiser]})
    for code, severity in given:
        flags[f"{code}, {severity}"] = np.array(
            [
                any((f.code, f.severity) == (code, severity) for f in case.score.findings[optimiser])
                for case in known
            ]
        )
    found = []
    for name, flag in flags.items():
        false, miss = _wrong(flag, failed)
        draws = [_wrong(flag[rows], failed[rows]) for rows in _draws(groups, seed)]
        (f_low, m_low), (f_high, m_high) = np.nanquantile(np.array(draws), (0.025, 0.975), axis=0)
        found.append(
            Rates(
                name, optimiser, int(flag.sum()), int((flag & failed).sum()),
                false, float(f_low), float(f_high), miss, float(m_low), float(m_high),
            )
        )  # fmt: skip
    return found


def calibration(known: Sequence[Case], optimiser: str) -> list[tuple[str, int, float, float]]:
    """Healthy, warning, and unhealthy by 1 − c at the end: name, starts, share that failed, mean progress."""
    levels = np.array([case.score.verdict(optimiser) for case in known])
    severity = np.array([case.score.severity(optimiser) for case in known])
    failed = np.array([case.failed for case in known])
    progress = np.array([case.progress for case in known])
    bins = {"healthy": levels == 0, "warning": levels == 1}
    grave, lost = levels >= 2, severity - levels
    bins |= {
        "unhealthy, 1 − c above .1": grave & (lost <= 0.1),
        "unhealthy, 1 − c from .1 to .001": grave & (lost > 0.1) & (lost <= 0.3),
        "unhealthy, 1 − c below .001": grave & (lost > 0.3),
    }
    return [
        (name, int(rows.sum()), float(failed[rows].mean()), float(progress[rows].mean()))
        for name, rows in bins.items()
        if rows.any()
    ]


def _wrong(flag: np.ndarray, failed: np.ndarray) -> tuple[float, float]:
    good, bad = flag[~failed], flag[failed]
    return float(good.mean()) if len(good) else math.nan, float(1 - bad.mean()) if len(bad) else math.nan


def by_architecture(names: Sequence[str]) -> list[Int[np.ndarray, " rows"]]:
    """Rows by architecture: starts of one architecture are not independent, and are drawn together."""
    by: dict[str, list[int]] = defaultdict(list)
    for row, start in enumerate(names):
        by[start.split(".")[0]].append(row)
    return [np.array(rows) for rows in by.values()]


def drawn(groups: list[Int[np.ndarray, " rows"]], generator: np.random.Generator) -> Int[np.ndarray, " all"]:
    """Rows of as many architectures, drawn with replacement."""
    return np.concatenate([groups[i] for i in generator.integers(len(groups), size=len(groups))])


def _draws(groups: list[Int[np.ndarray, " rows"]], seed: int) -> list[Int[np.ndarray, " all"]]:
    generator = np.random.default_rng(seed)
    return [drawn(groups, generator) for _ in range(_DRAWS)]
