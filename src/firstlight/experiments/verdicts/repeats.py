"""Repeats: how far the outcome of a start is chance, from trainings of the same starts on other batches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import ndtr

from firstlight.errors import DomainError
from firstlight.experiments.verdicts.analysis import FAILED, STUCK, area, by_architecture, drawn, ends
from firstlight.experiments.verdicts.outcomes import OPTIMISERS, Outcome

_DRAWS = 400


@dataclass(frozen=True)
class Share:
    """A share with its 95 % interval over architectures drawn with replacement."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Ceiling:
    """What the best predictor could reach, since one start trains well on some batches and fails on others.

    A predictor that sees the start alone knows at most its chance p to fail. One more training of the same start is a
    draw with that chance: the predictor can do better than ``one_*``, which is a fair test. The majority of all
    trainings holds the judged one: no predictor does better than ``all_*`` but by chance.

    Attributes
    ----------
    optimiser
        Who trained.
    starts, architectures, trainings
        Starts that count in every training, of how many architectures, and how often each was trained.
    wavering
        Architectures that some trainings count as one that no start trains, and others do not; they are left out.
    failed
        The share of all trainings that failed.
    disagree
        The chance 2 E[p(1 − p)] that two trainings of one start end apart; half of it is the least that any predictor
        errs, E[min(p, 1 − p)] ≥ E[p(1 − p)].
    one_false, one_misses, one_auc
        False alarms and misses of one training as the verdict on another one; area under the ROC curve of the mean
        progress of the others.
    all_false, all_misses, all_auc
        The same of the majority, and of the mean progress, of all trainings.
    """

    optimiser: str
    starts: int
    architectures: int
    trainings: int
    wavering: int
    failed: Share
    disagree: Share
    one_false: Share
    one_misses: Share
    one_auc: Share
    all_false: Share
    all_misses: Share
    all_auc: Share


def ceiling(
    trainings: Sequence[Sequence[Outcome]], optimiser: str, *, stuck: bool = False, seed: int = 0
) -> Ceiling:
    """The ceiling of every predictor, from the outcomes of the same starts, trained two times or more.

    Parameters
    ----------
    trainings
        For each order of the batches, the outcomes of all starts; starts that one of them lacks are left out.
    optimiser
        ``"sgd"`` or ``"adam"``.
    stuck
        Whether the second outcome is read, last losses above nine tenths of a guess's, in place of the first.
    seed
        Of the draws of architectures.

    Raises
    ------
    DomainError
        If there are fewer than two trainings.

    Examples
    --------
    >>> from firstlight.experiments.verdicts import Outcome, ceiling
    >>> good, bad = Outcome("0.0", 2.3, 2.3, (0.1,), (0.1,)), Outcome("0.1", 2.3, 2.3, (2.2,), (2.2,))
    >>> ceiling([[good, bad], [good, bad]], "sgd").one_auc.value
    1.0
    """
    if len(trainings) < 2:
        raise DomainError(
            f"while reading repeated trainings: expected two or more of each start, got {len(trainings)}"
        )
    share, groups, wavering = _repeated(trainings, optimiser, stuck=stuck)
    line = 1.0 - STUCK if stuck else FAILED
    found = _numbers(share, line)
    generator = np.random.default_rng(seed)
    draws = [_numbers(share[drawn(groups, generator)], line) for _ in range(_DRAWS if groups else 0)]
    shares = {
        name: Share(value, *(float(np.nanquantile([d[name] for d in draws], q)) for q in (0.025, 0.975)))
        for name, value in found.items()
    }
    return Ceiling(optimiser, len(share), len(groups), len(trainings), wavering, **shares)


def _repeated(
    trainings: Sequence[Sequence[Outcome]], optimiser: str, *, stuck: bool
) -> tuple[Float[np.ndarray, "starts trainings"], list[Int[np.ndarray, " rows"]], int]:
    """Progress of the starts that every training holds and counts, their rows by architecture, and who wavers."""
    common = set.intersection(*({o.start for o in one} for one in trainings))
    known = [
        {
            end.start: 1.0 - end.last if stuck else end.share
            for end in ends([o for o in one if o.start in common], optimiser)
        }
        for one in trainings
    ]
    counted = [{start.split(".")[0] for start in one} for one in known]
    sure = set.intersection(*counted)
    names = sorted(start for start in known[0] if start.split(".")[0] in sure)
    share = np.array([[one[start] for one in known] for start in names]).reshape(len(names), len(known))
    return share, by_architecture(names), len(set.union(*counted) - sure)


@dataclass(frozen=True)
class AtBest:
    """What a predictor would reach that knows, for every start of the study, the mean progress over all trainings.

    The stored progress s of a start is one training's; the mean is taken as normal around s with the spread of
    repeated trainings, so a start changes sides with chance Φ(−|s − ½|/spread). Ranks are right with chance
    Φ((s − s')/(√2 spread)).

    Attributes
    ----------
    optimiser
        Who trained.
    starts, failed
        Starts of the study that count, and how many of them failed in the stored training.
    spread
        Standard deviation of the progress over trainings of one start, pooled over starts whose mean progress is
        between .15 and .85.
    false_alarms, misses, auc
        Of the predictor, against the stored outcomes.
    once_false, once_misses
        Of one more training as the verdict, which has the spread itself: Φ(−|s − ½|/(√2 spread)).
    """

    optimiser: str
    starts: int
    failed: int
    spread: Share
    false_alarms: Share
    misses: Share
    auc: Share
    once_false: Share
    once_misses: Share


def at_best(trainings: Sequence[Sequence[Outcome]], optimiser: str, *, seed: int = 0) -> AtBest:
    """The best predictor on all stored starts, from the spread of those that were trained again.

    Parameters
    ----------
    trainings
        As in `ceiling`; the first one may hold more starts than the others.
    optimiser, seed
        As in `ceiling`.

    Examples
    --------
    >>> from firstlight.experiments import verdicts
    >>> best = verdicts.at_best(verdicts.repeated(), "adam")
    >>> best.failed < best.starts, best.misses.value < 0.2
    (True, True)
    """
    again, rows, _ = _repeated(trainings, optimiser, stuck=False)
    whole = {end.start: end.share for end in ends(trainings[0], optimiser)}
    share = np.clip(list(whole.values()), -1.0, 1.0)
    groups = by_architecture(list(whole))
    generator = np.random.default_rng(seed)
    draws = [_best(again[drawn(rows, generator)], share[drawn(groups, generator)]) for _ in range(_DRAWS)]
    found = _best(again, share)
    low, high = np.nanquantile(draws, (0.025, 0.975), axis=0).tolist()
    columns = [Share(*three) for three in zip(found, low, high, strict=True)]
    return AtBest(optimiser, len(share), int((share < FAILED).sum()), *columns)


def _best(
    again: Float[np.ndarray, "some trainings"], share: Float[np.ndarray, " starts"]
) -> tuple[float, ...]:
    """Spread, false alarms, misses, area, and rates of one more training, of `AtBest`."""
    again = np.clip(again, -1.0, 1.0)
    middle = np.abs(again.mean(1) - 0.5) < 0.35
    spread = float(np.sqrt(again[middle].var(1, ddof=1).mean())) if middle.any() else math.nan
    failed = share < FAILED
    changes, once = (ndtr(-np.abs(share - FAILED) / s) for s in (spread, math.sqrt(2.0) * spread))
    right = ndtr((share[~failed][:, None] - share[failed]) / (math.sqrt(2.0) * spread))
    chances = (changes[~failed], changes[failed], right, once[~failed], once[failed])
    return spread, *(float(chance.mean()) for chance in chances)


def _numbers(share: Float[np.ndarray, "starts trainings"], line: float) -> dict[str, float]:
    """Every share of `Ceiling`, from the progress of each start in each training, which failed below the line."""
    failed: Bool[np.ndarray, "starts trainings"] = share < line
    progress = np.clip(share, 0.0, 1.0)
    count = failed.shape[1]
    times: Int[np.ndarray, " starts"] = failed.sum(1)
    pairs = count * (count - 1)
    others = (progress.sum(1, keepdims=True) - progress) / (count - 1)
    often = np.repeat(2 * times[:, None] > count, count, axis=1)
    mean = np.repeat(progress.mean(1, keepdims=True), count, axis=1)
    good, bad = (~failed).sum(), failed.sum()
    # ordered pairs of two trainings of one start of which the first is sound and the second failed
    apart = (times * (count - times)).sum()
    return {
        "failed": float(failed.mean()),
        "disagree": float(2 * apart / (pairs * len(failed))),
        "one_false": float(apart / max(good * (count - 1), 1)),
        "one_misses": float(apart / max(bad * (count - 1), 1)),
        "one_auc": area(-others.ravel(), failed.ravel()),
        "all_false": float((often & ~failed).sum() / max(good, 1)),
        "all_misses": float((~often & failed).sum() / max(bad, 1)),
        "all_auc": area(-mean.ravel(), failed.ravel()),
    }


def ceiling_markdown(trainings: Sequence[Sequence[Outcome]]) -> str:
    """The ceilings of both outcomes and optimisers as a table for the documentation."""
    found = [ceiling(trainings, name, stuck=stuck) for stuck in (False, True) for name in OPTIMISERS]
    rows = [
        f"| starts, architectures, trainings of each | {' | '.join(_counts(one) for one in found)} |",
        *(
            f"| {words} | {' | '.join(_said(getattr(one, name), name) for one in found)} |"
            for name, words in _WORDS.items()
        ),
    ]
    known = [at_best(trainings, name) for name in OPTIMISERS]
    rows += [
        f"| {words} | {' | '.join(_said(getattr(one, name), name) for one in known)} | | |"
        for name, words in _KNOWN.items()
    ]
    return "\n".join(["| | SGD | Adam | SGD, stuck | Adam, stuck |", "|---|---|---|---|---|", *rows, ""])


_WORDS = {
    "failed": "trainings that failed (are stuck)",
    "disagree": "two trainings of one start end apart",
    "one_auc": "area of the other trainings' mean progress",
    "one_false": "false alarms of one other training",
    "one_misses": "misses of one other training",
    "all_auc": "area of the mean progress of all trainings",
    "all_false": "false alarms of the majority of all trainings",
    "all_misses": "misses of the majority of all trainings",
}

_KNOWN = {
    "spread": "spread of the progress over trainings of one start",
    "auc": "area of the mean progress, all stored starts",
    "false_alarms": "false alarms of the mean progress, all stored starts",
    "misses": "misses of the mean progress, all stored starts",
    "once_false": "false alarms of one more training, all stored starts",
    "once_misses": "misses of one more training, all stored starts",
}


def _counts(one: Ceiling) -> str:
    return f"{one.starts}, {one.architectures}, {one.trainings}"


def _said(share: Share, name: str) -> str:
    if name.endswith(("auc", "spread")):
        return f"{share.value:.3f} ({share.low:.3f} – {share.high:.3f})"
    return f"{100 * share.value:.1f} % ({100 * share.low:.1f} – {100 * share.high:.1f})"
