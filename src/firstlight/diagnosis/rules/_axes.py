"""Rules along axes other than depth: time, the tokens of a sample, attention, channels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from firstlight.diagnosis.catalogue import verdict
from firstlight.diagnosis.findings import MIXES, Findings, factor, names, number
from firstlight.diagnosis.rules._gradients import holds_for
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
# Calls of one layer in a row that make a path through time.
CALLS = 5
# 1 − c between the tokens of one sample.
COLLAPSED, COLLAPSING = 100.0, 10.0
# 1 − c from which tokens can be distinguished at all: copies of one stream begin below this line.
APART = 1e-2
# Attention layers without a skip around them from which a readout of all tokens together learns nothing. Measured
# (tokens of order one, the class is that of the fourth of eight, skips around the other layers alone, 300 steps): with
# 6 gradient descent ends at .8 and Adam at .0, with 8 at 2.3 and .1, with 12 both at 2.3.
BLIND = {"sgd": 8, "adam": 12}
# Units from which a cosine says something of tokens.
WIDE = 8
ONE_HOT, SHARP = 0.9, 0.7
# The share of a token's mean square that differs between samples, from which tokens tell the samples apart.
TOLD = 0.1
# Times that positions are larger than the tokens they are added to: warned, unhealthy for gradient descent and for all.
# Measured (the same tokens, two pre-norm blocks, 250 to 300 steps at the best of two or three rates, a guess has 2.3):
# plain gradient descent ends at .0 with 3 times, .2 with 5, 2.3 with 10 and more; Adam at .0 up to 30 times and at 2.3
# with 60. Patches of digits, 200 steps: 2.3 and .9 with 10 times, 2.3 and 2.3 with 30, against .6 and .1 with 1.
DROWNED = (5.0, 10.0, 50.0)
# Channel mean² over its sum with the variance, and its growth along the stream.
MEAN_SHARE, MEAN_GROWTH = 0.4, 3.0


def axis_verdicts(f: Findings) -> list[Verdict]:
    """What happens along time, among tokens and in channels."""
    return [*_time(f), *_tokens(f), *_drowned(f), *_attention(f), *_crossed(f), *_channels(f)]


# -------------------------------------------------------------------------------------------------------- time
def _time(f: Findings) -> list[Verdict]:
    """The gravest of forgetting and of exploding, over all recurrent layers."""
    found: dict[str, Verdict] = {}
    for course in [*_measured(f), *_unrolled(f)]:
        new = _through_time(course, f.optimiser == "adam")
        if new is None or (new.code == "vanishing-through-time" and _reminded(f, course.name)):
            continue
        old = found.get(new.code)
        if old is None or (new.measured or 0.0) > (old.measured or 0.0):
            found[new.code] = new
    return list(found.values())


@dataclass(frozen=True)
class Course:
    """The trend of the log gradient norm of one layer along time, and of what it is the gradient."""

    name: str
    trend: Trend
    steps: float
    what: str
    radius: float = math.nan


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
            found.append(Course(name, trend, float(each["steps"]), what, radius))
    return found


def _unrolled(f: Findings) -> list[Course]:
    """Ln ‖∂L/∂h_t‖ against t of every layer that is called again on what it gave, where nothing better was measured."""
    index = f.at("weight", "recurrent")
    groups: dict[str, list[int]] = {}
    for row in index.tolist():
        groups.setdefault(str(f.profile["name"][row]).split("#")[0], []).append(row)
    logs = f.log_norms
    found = []
    for name, rows in groups.items():
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
    own = [r for r in f.at("weight").tolist() if str(f.profile["name"][r]).split("#")[0] == name]
    fed: dict[int, int] = {}
    for row in own:
        for reader in f.feeds[row] if f.feeds else ():
            others = [s for s in links[reader] if s not in own and shapes[s] == shapes[row]]
            for source in set(others):
                fed[source] = fed.get(source, 0) + 1
    return max(fed.values(), default=0) >= max(CALLS, len(own) - 1)


def _through_time(course: Course, adam: bool) -> Verdict | None:
    trend, steps = course.trend, course.steps
    total, error = trend.slope * (steps - 1), trend.se * (steps - 1)
    if abs(trend.slope) <= 3.0 * trend.se:
        return None
    forgets = trend.slope > 0
    lines = (FADING, FORGIVEN if adam else FORGOTTEN) if forgets else (GROWING, GROWN)
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
    return verdict(
        "vanishing-through-time" if forgets else "exploding-through-time",
        severity,
        evidence,
        measured=abs(total) / DECADE,
        uncertainty=error / DECADE,
        threshold=lines[1 if severity == "unhealthy" else 0] / DECADE,
        layers=(course.name,),
    )


# ------------------------------------------------------------------------------------------------------ tokens
def _tokens(f: Findings) -> list[Verdict]:
    """Tokens of one sample that become alike on the way."""
    # tokens with few units can only have one direction, or two; places of a map are not judged, since filters make
    # neighbours alike on purpose
    told = (f.extra(f.profile, "units") >= WIDE) & ~(f.extra(f.profile, "places") > 0)
    c = np.where(told, f.profile["token_correlation"], math.nan)
    kinds = f.profile["kind"].astype(str)
    begin = np.flatnonzero(np.isfinite(c) & np.isin(kinds, ("input", "embedding", *MIXES)))
    # without tokens in the data and without attention a third axis holds something else: the edges of a KAN, experts
    given = np.isfinite(f.profile["token_correlation"]) & np.isin(kinds, ("input", "embedding"))
    if not given.any() and "attention" not in kinds:
        return []
    index = f.at("weight", "norm", "residual", "recurrent")
    # where attention averages, tokens are alike at the end of a branch, but not in the stream that the branch is
    # added to
    kept = [math.isfinite(c[i]) and (f.kinds[i] == "residual" or not f.joins(i)) for i in index.tolist()]
    index = index[np.array(kept, bool)]
    if len(index) < 4 or not len(begin):
        return []
    start = float(c[begin[0]])
    tail = index[-max(len(index) // 10, 1) :]
    end = float(np.median(c[tail]))
    left, before = max(1.0 - end, 1e-9), 1.0 - start
    if before < APART:
        return []
    shrink = before / left
    if shrink < COLLAPSING or end < 0.95:
        return []
    # a readout of all tokens together, behind a stream that goes around every attention, needs no single token
    readout = [row for row in f.at("weight").tolist() if f.readout[row]]
    together = f.residual and not np.isfinite(f.profile["token_correlation"][readout]).any()
    together &= (
        _around(f) or kinds.tolist().count("attention") < BLIND["adam" if f.optimiser == "adam" else "sgd"]
    )
    severity: Severity = "unhealthy" if shrink > COLLAPSED and left < 0.01 and not together else "warning"
    rank = f.profile["token_rank"]
    evidence = (
        f"The mean cosine between the tokens of one sample rises from {start:.3f} to {end:.5f}: what tells them apart "
        f"(1 − c) shrinks by a factor {number(shrink)}. Their effective rank ends at "
        f"{number(float(np.median(rank[tail])))}."
    )
    return [
        verdict(
            "token-collapse",
            severity,
            evidence,
            measured=math.log10(shrink),
            threshold=math.log10(COLLAPSED if severity == "unhealthy" else COLLAPSING),
            layers=names(f.profile, np.isin(np.arange(len(c)), index), c, 3),
        )
    ]


def _around(f: Findings) -> bool:
    """Whether streams have as many sums as there is attention; a stream around the other layers alone breaks."""
    return sum(len(chain) for chain in f.streams if len(chain) > 1) >= len(f.at("attention"))


def _drowned(f: Findings) -> list[Verdict]:
    """Tokens beside which something far larger is added that is the same for all samples, as positions are.

    Counted is how far the share of the samples falls from the tokens to the sum, in root mean square, and at most the
    sum's own size: a small embedding beside positions of order one is soon as large as they are.
    """
    apart = np.where(f.extra(f.profile, "places") > 0, math.nan, f.extra(f.profile, "apart"))
    worst: tuple[float, int, int] | None = None
    for row in f.at("affine", "norm").tolist():
        # in front of an activation stands a bias, as of a gate or a time step
        if any(
            f.kinds[reader] not in ("norm", "residual", *MIXES)
            for reader in (f.feeds[row] if f.feeds else ())
        ):
            continue
        sources = [s for s in f.measurement.links[row] if apart[s] > TOLD] if f.measurement.links else []
        before = [s for s in sources if f.kinds[s] in ("embedding", "weight", "input")]
        size = _size(f, row)
        if not before or len(before) < len(sources) or not math.isfinite(apart[row] * size):
            continue
        token = max(before, key=lambda s: float(apart[s]))
        times = min(math.sqrt(apart[token] / max(apart[row], 1e-12)), size)
        if times > DROWNED[0] and (worst is None or times > worst[0]):
            worst = (times, token, row)
    if worst is None:
        return []
    times, token, row = worst
    adam = times > DROWNED[2]
    grave = times > DROWNED[1] and (f.optimiser != "adam" or adam)
    evidence = (
        f"What is added to {f.names[token]} is the same for every sample: of the mean square of {f.names[row]} a share "
        f"of {number(float(apart[row]))} differs between samples, of that of {f.names[token]} "
        f"{number(float(apart[token]))}. In root mean square the tokens' share is {number(times)} times smaller there."
    )
    if f.optimiser is None and grave and not adam:
        evidence += holds_for(["sgd"], "are only slowed down")
    return [
        verdict(
            "drowned-tokens",
            "unhealthy" if grave else "warning",
            evidence,
            measured=times,
            threshold=(DROWNED[2] if adam else DROWNED[1]) if grave else DROWNED[0],
            layers=(f.names[row], f.names[token]),
        )
    ]


def _size(f: Findings, row: int) -> float:
    """Root mean square of what a normaliser reads, from the factor 1/σ of its gradient, or of another row."""
    if f.kinds[row] != "norm":
        return math.sqrt(float(f.profile["q"][row]))
    gain, square = f.extra(f.profile, "norm_gain")[row], f.extra(f.profile, "gamma_square")[row]
    return math.sqrt(square / gain) if gain > 0 and square > 0 else math.nan


def _attention(f: Findings) -> list[Verdict]:
    """Attention that has picked one key before it learnt anything."""
    rows = f.profile.select("attention")
    sharpest = rows["attention_max"]
    known = np.isfinite(sharpest)
    bad = known & (sharpest > SHARP)
    if not bad.any():
        return []
    worst = float(sharpest[bad].max())
    # a few sharp layers are what training makes, all of them what a start gives
    grave = int((sharpest[known] > ONE_HOT).sum()) * 2 >= int(known.sum())
    at = int(np.argmax(np.where(bad, sharpest, -np.inf)))
    evidence = (
        f"In {int(bad.sum())} of {int(known.sum())} attention layers the largest weight of a query exceeds {SHARP:.0%} "
        f"on average; the sharpest, {rows['name'][at]}, has {worst:.1%} and an entropy of "
        f"{number(float(rows['attention_entropy'][at]))} of its largest value."
    )
    return [
        verdict(
            "one-hot-attention",
            "unhealthy" if grave else "warning",
            evidence,
            measured=worst,
            threshold=ONE_HOT if grave else SHARP,
            layers=names(rows, bad, sharpest),
        )
    ]


def _crossed(f: Findings) -> list[Verdict]:
    """Weights of a sum that do not sum to one, since their softmax was taken over another axis."""
    rows = f.profile.select("attention")
    axis = f.extra(rows, "crossed")
    bad = np.isfinite(axis)
    if not bad.any():
        return []
    at = int(np.argmax(bad))
    over = int(axis[at])
    evidence = (
        f"The softmax of {rows['name'][at]} (shape {rows['shape'][at]}) is taken over axis {over}, and the product "
        "with what is weighed sums over the last axis."
    )
    if over == 0:
        evidence += " Axis 0 holds the samples, so each sample's weights depend on the others."
    return [verdict("softmax-axis", "warning", evidence, measured=float(over), layers=names(rows, bad))]


# ---------------------------------------------------------------------------------------------------- channels
def _channels(f: Findings) -> list[Verdict]:
    """Streams in which the channels' means outgrow their deviations, with no normaliser to take them out."""
    worst: tuple[float, np.ndarray] | None = None
    for chain in f.streams:
        square, spread = (f.profile[n][chain] for n in ("channel_mean_square", "channel_var"))
        if len(chain) < 4 or not np.isfinite(square).all() or square[0] <= 0:
            continue
        # in front of a branch's first layer or right behind it, a normaliser takes the means out
        readers = [reader for row in chain.tolist() for reader in f.next_rows(row, "norm", *MIXES)]
        if any(f.kinds[reader] == "norm" or f.rescaled[reader] for reader in readers):
            continue
        share = float(square[-1] / (square[-1] + spread[-1]))
        if (
            share > MEAN_SHARE
            and square[-1] > MEAN_GROWTH * square[0]
            and (worst is None or share > worst[0])
        ):
            worst = (share, chain)
    if worst is None:
        return []
    share, chain = worst
    square, spread = (f.profile[n][chain] for n in ("channel_mean_square", "channel_var"))
    branch = f.profile["branch_var"][chain]
    told = (
        f", branches deviate by {number(float(branch[-1]))} (variance)" if math.isfinite(branch[-1]) else ""
    )
    evidence = (
        f"Along {len(chain)} residual sums the channels' squared mean grows from {number(float(square[0]))} to "
        f"{number(float(square[-1]))}, beside a variance of {number(float(spread[-1]))}{told}."
    )
    return [
        verdict(
            "channel-means",
            "warning",
            evidence,
            measured=share,
            threshold=MEAN_SHARE,
            layers=names(f.rows(chain), np.ones(len(chain), bool), square, 3),
        )
    ]
