"""Rules along time: what a recurrent layer, or a layer that is called again and again, forgets or blows up."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from firstlight.diagnosis._loops import calls_of
from firstlight.diagnosis.catalogue import verdict
from firstlight.diagnosis.findings import Findings, factor, number
from firstlight.diagnosis.trend import Trend, fit
from firstlight.diagnosis.verdict import Severity, Verdict
from firstlight.files.plain_data import Record

DECADE = math.log(10.0)
# Backwards in time: below float32's rounding of the sum over steps, an early step has no part in ∂L/∂W.
FORGOTTEN, FADING = math.log(2.0**23), math.log(1e3)
# An adaptive optimiser compensates for a small part: measured, five starts that forget by 7 to 25 decades all train.
FORGIVEN = 3.0 * FORGOTTEN
GROWN, GROWING = math.log(100.0), math.log(10.0)
# The share of a step that is left after one more step: below this line, the layer hardly uses its recurrent weight.
HARDLY = 0.05
# The share of steps that the loss reads directly, from which an answer is expected at every step. Most of such answers
# need the recent steps alone. Measured, 250 steps on text, 100 characters a sequence (19 decades), 128 units: an LSTM
# ends at 2.23 by gradient descent and at 2.17 by Adam, a plain layer at 1.94 and 2.01.
EVERY = 0.5
# Calls of one layer in a row that make a path through time.
CALLS = 5


def time_verdicts(f: Findings) -> list[Verdict]:
    """The gravest of forgetting and of exploding, over all recurrent layers."""
    found: dict[str, Verdict] = {}
    for course in [*_measured(f), *_unrolled(f)]:
        new = _through_time(f, course)
        if new is None or (new.code == "vanishing-through-time" and _reminded(f, course.name)):
            continue
        old = found.get(new.code)
        if old is None or (new.measured or 0.0) > (old.measured or 0.0):
            found[new.code] = new
    return list(found.values())


@dataclass(frozen=True)
class Course:
    """The trend of the log gradient norm of one layer along time, and of what it is the gradient.

    ``heard`` is the share of steps whose output the loss reads without a way through later steps.
    """

    name: str
    trend: Trend
    steps: float
    what: str
    radius: float = math.nan
    heard: float = math.nan


def _measured(f: Findings) -> list[Course]:
    """Ln ‖∂(v·h_T)/∂h_t‖ against t, of every fused layer and of every layer that is called again and again."""
    found = []
    times: Record = dict(f.meta.get("time", {}))
    for name, each in times.items():
        logs = np.array([float(v) for v in each["logs"]])
        # far back the gradient leaves the range of float32: the rate is read only where the gradient is in the range
        kept = np.isfinite(logs) & (logs > logs[np.isfinite(logs)].max(initial=-math.inf) - 60.0)
        trend = fit(np.flatnonzero(kept).astype(float), logs[kept])
        if trend is not None:
            what = f"what the last output tells of a {'call' if each.get('calls') else 'step'} of {name}"
            radius = float(each.get("spectral_radius", math.nan))
            heard = _heard(f, name) if each.get("calls") else float(each.get("heard", math.nan))
            found.append(Course(name, trend, float(each["steps"]), what, radius, heard))
    return found


def _calls(f: Findings, name: str) -> list[int]:
    """The rows of a layer, one for each call."""
    return calls_of(f.names, range(len(f.names))).get(name, [])


def _heard(f: Findings, name: str) -> float:
    """The share of a layer's calls whose gradient is a hundredth of the largest call's or more."""
    logs = f.log_norms[_calls(f, name)]
    logs = logs[np.isfinite(logs)]
    return float((logs >= logs.max() - math.log(100.0)).mean()) if len(logs) else math.nan


def _unrolled(f: Findings) -> list[Course]:
    """Ln ‖∂L/∂h_t‖ against t of every layer that is called again on what it gave, where nothing better was measured."""
    logs = f.log_norms
    found = []
    for name, rows in calls_of(f.names, f.at("weight", "recurrent").tolist()).items():
        depth = f.profile["depth"][rows]
        if len(rows) < CALLS or not (np.diff(depth) > 0).all() or name in f.meta.get("time", {}):
            continue
        kept = np.isfinite(logs[rows])
        trend = fit(np.flatnonzero(kept).astype(float), logs[rows][kept])
        if trend is not None:
            found.append(Course(name, trend, float(len(rows)), f"the gradient at each call of {name}"))
    return found


def _reminded(f: Findings, name: str) -> bool:
    """Whether the calls of a layer are all given the same signal, as in the search for a fixed point.

    Such a recurrence has nothing to remember. A projection of a whole sequence, of which each call takes a step, has
    another shape than what a call gives.
    """
    links, shapes = f.measurement.links, f.profile["shape"]
    own = calls_of(f.names, f.at("weight").tolist()).get(name, [])
    fed: dict[int, int] = {}
    for row in own:
        for reader in f.feeds[row] if f.feeds else ():
            others = [s for s in links[reader] if s not in own and shapes[s] == shapes[row]]
            for source in set(others):
                fed[source] = fed.get(source, 0) + 1
    return max(fed.values(), default=0) >= max(CALLS, len(own) - 1)


def _around(f: Findings, name: str) -> bool:
    """Whether a sum adds what a layer gives to a stream that goes around the layer."""
    rows = _calls(f, name)
    return bool(rows) and all(f.joins(row) for row in rows)


def _through_time(f: Findings, course: Course) -> Verdict | None:
    trend, steps = course.trend, course.steps
    total, error = trend.slope * (steps - 1), trend.se * (steps - 1)
    if abs(trend.slope) <= 3.0 * trend.se:
        return None
    forgets = trend.slope > 0
    near = forgets and course.heard > EVERY and (not f.drawn or _around(f, course.name))
    lines = (
        (FADING, FORGIVEN if near or f.optimiser == "adam" else FORGOTTEN) if forgets else (GROWING, GROWN)
    )
    if abs(total) <= lines[0]:
        return None
    rate = math.exp(-trend.slope)
    # a layer that hardly recurs has no memory to lose: measured, both such starts of the study train by both optimisers
    severity: Severity = "unhealthy" if abs(total) > lines[1] and rate > HARDLY else "warning"
    evidence = (
        f"Backwards in time {course.what} changes by a factor {number(rate)} ± {number(rate * trend.se, 2)} a step, "
        f"{factor(-total)} over {steps:.0f} steps."
    )
    if math.isfinite(course.radius):
        evidence += f" The spectral radius of its recurrent weight is {number(course.radius)}."
    if near:
        evidence += f" The loss reads {course.heard:.0%} of the steps directly: only long memory is missing."
    return verdict(
        "vanishing-through-time" if forgets else "exploding-through-time",
        severity,
        evidence,
        measured=abs(total) / DECADE,
        uncertainty=error / DECADE,
        threshold=lines[1 if severity == "unhealthy" else 0] / DECADE,
        layers=(course.name,),
    )
