"""Rules about signals: chaos, collapse, exploding and vanishing activations, residual growth, rank."""

from __future__ import annotations

import math

import numpy as np

from firstlight.diagnosis.catalogue import verdict
from firstlight.diagnosis.findings import DEEP, DISTANCES, MIXES, Findings, factor, log, names, number
from firstlight.diagnosis.trend import fit
from firstlight.diagnosis.verdict import Severity, Verdict
from firstlight.profile import Profile

# Chaos counts once χ₁ has multiplied small differences by this much over the depth (squared distance).
CHAOS = math.log(100.0)
# The signal's second moment between the first and the last layer.
SIGNAL_WARNING, SIGNAL_UNHEALTHY = math.log(1e3), math.log(1e6)
# Of the stream. Measured on digits (four to ten blocks of one or two layers on 4 times torch's start, 250 steps at the
# best of four rates, a guess has 2.30): 10^3.5 to 10^5.1 end at .06 to .37 by gradient descent and below .05 by Adam;
# 10^6.2 and 10^6.5 diverge or end at .9, and at .02 and .05 by Adam; 10^8.2 and 10^10.4 end at 1.6 and 25 by Adam.
STREAM_WARNING, STREAMS = math.log(100.0), {"sgd": math.log(10**5.5), "adam": math.log(1e7)}
DECADE = math.log(10.0)
# 1 − c of which float32 keeps about one digit. Measured (study of verdicts, training half, chains without normalisers
# or of few layers): three of three starts below fail with Adam, none of seven from twice the line to 10⁻³.
ROUNDED = 3e-6
# 1 − c that plain gradient descent no longer tells apart. Measured (study of verdicts): below this line 97 of 110
# starts fail with plain gradient descent; from here to 10⁻² half of 34 starts fail.
LOST = 1e-3
# 1 − c at the end of a deep chain with a normaliser of each sample and no skips. Measured (study of verdicts, training
# half, chains of 21 to 68 layers): all eleven starts below fail with Adam, seven of thirteen above.
NORMED = 7e-3
# Correlation at the end, and the loss of 1 − c, from which samples count as alike.
ALIKE, TENTH = 0.95, 10.0
# The smallest number of residual sums that make a stream.
SUMS = 4
# Effective ranks below which features have hardly more than one direction, and above which they have several.
ONE, SEVERAL = 1.5, 3.0
# Units from which a rank says something of the signal and not of the layer's width.
WIDE = 8


def propagation_verdicts(f: Findings) -> list[Verdict]:
    """What happens to signals and to the differences between them."""
    stream = _streams(f)
    rest = [] if stream else _signal(f)
    return [*_non_finite(f), *stream, *_chaotic(f), *_ordered(f), *_rank(f), *rest]


def _start(f: Findings, column: str, default: float) -> float:
    """The first input's value of a column, else the default."""
    values = f.profile[column][f.data]
    return float(values[0]) if len(values) and math.isfinite(values[0]) else default


def _chaotic(f: Findings) -> list[Verdict]:
    rows = f.hidden()
    c, se, chi = rows["correlation"], rows["correlation_se"], rows["chi"]
    known = np.isfinite(c)
    slopes = chi[np.isfinite(chi) & (chi > 0)]
    if known.sum() < 3 or len(slopes) < 3 or f.normalised:
        return []
    logs = np.log(slopes)
    mean, error = float(logs.mean()), float(logs.std(ddof=1) / math.sqrt(len(logs)))
    span = float(np.ptp(rows["depth"][known])) + 1
    tail = max(int(known.sum()) // 5, 1)
    start, end = _start(f, "correlation", float(c[known][0])), float(np.median(c[known][-tail:]))
    end_error = float(np.nanmedian(se[known][-tail:])) if np.isfinite(se[known][-tail:]).any() else 0.0
    falls = start - end > max(0.05, 3.0 * end_error)
    if mean * span < CHAOS or mean < 3.0 * error or not falls:
        return []
    rate = math.exp(mean)
    evidence = (
        f"The correlation between inputs falls from {start:.2f} to {end:.2f} ± {number(end_error, 2)}, and the "
        f"slope χ₁ at the measured q is {number(rate)} ± {number(rate * error, 2)} per layer: small differences "
        f"grow by {factor(mean * span)} (squared) over {span:.0f} layers."
    )
    return [
        verdict(
            "chaotic",
            "unhealthy",
            evidence,
            measured=mean * span / DECADE,
            uncertainty=error * span / DECADE,
            threshold=CHAOS / DECADE,
            remedy=(
                "lower σ_w, or raise σ_b, to the edge of chaos χ₁ = 1 of this activation; at these q, σ_w × "
                f"{number(math.exp(-mean / 2))} is the first guess (audit again, for q moves too)"
            ),
            layers=names(rows, np.isfinite(chi), chi, 3),
        )
    ]


def _ordered(f: Findings) -> list[Verdict]:
    rows = f.hidden()
    c, units = rows["correlation"], f.extra(rows, "units")
    known = np.isfinite(c)
    # that of numbers is 1 or −1, and of a few units near 1 by chance, but not near 0: such samples never collapsed
    wide = known & ~(units < (WIDE if (known & (units >= WIDE)).any() else 2))
    if wide.sum() < 2 or (c[known & (units >= 2) & (np.cumsum(wide) == wide.sum()) & ~wide] < 0.5).any():
        return []
    known = wide
    start = _start(f, "correlation", float(c[known][0]))
    end = float(np.median(c[known][-max(int(known.sum()) // 10, 1) :]))
    left, before = max(1.0 - end, 1e-12), max(1.0 - start, 1e-12)
    shrink = before / left
    if shrink < TENTH or end < ALIKE or _passed_by(f, f.profile["correlation"] < ALIKE):
        return []
    trend = fit(rows["depth"][known], log(np.maximum(1.0 - c[known], 1e-12)))
    exponential = trend is not None and trend.slope < -3.0 * trend.se
    # an adaptive optimiser can still find differences that float32 can hold
    lost = left < ROUNDED if f.optimiser == "adam" else left < LOST
    forgiven = _forgiven(f, kept=left >= ROUNDED)
    steep = exponential or trend is None
    grave = shrink > 100.0 and lost and steep and not (_opens(f) or forgiven)
    # a normaliser of each sample scales up what the samples share, so no learning rate can reach the differences that
    # are left
    measured, line = math.log10(shrink), 2.0 if grave else 1.0
    if f.deep_normed and left < NORMED:
        grave, measured, line = True, left, NORMED
    scale = (
        f"; depth scale {number(1 / abs(trend.slope))} layers" if exponential and trend is not None else ""
    )
    evidence = (
        f"The correlation between inputs rises from {start:.3f} to {end:.5f}: what tells them apart (1 − c) "
        f"shrinks by a factor {number(shrink)} over {np.ptp(rows['depth'][known]):.0f} layers{scale}."
    )
    evidence += forgiven
    return [
        verdict(
            "ordered",
            "unhealthy" if grave else "warning",
            evidence,
            measured=measured,
            threshold=line,
            layers=names(rows, known, c, 3),
        )
    ]


def _handed_on(f: Findings) -> str:
    """Words on a residual stream that keeps q (1 − c), the size of what tells samples apart; empty without one.

    The correlation rises there since the branches add something that all samples share. Measured (digits, 20 to 80
    blocks of sigmoid or softplus with LayerNorm or RMSNorm, 150 steps of gradient descent at the best of three rates):
    sixteen streams of sixteen with 1 − c of 7·10⁻⁵ to 3·10⁻⁴ at the end come to .20 to .58; a guess has 2.30.
    """
    for rows in (f.rows(stream) for stream in sorted(f.streams, key=len, reverse=True)[:1]):
        apart = rows["q"] * (1.0 - rows["correlation"])
        if len(apart) >= SUMS and np.isfinite(apart).all() and apart[-1] > apart[0] / TENTH:
            return (
                f" The residual stream keeps the size of it: q (1 − c) is {number(float(apart[0]))} behind the first "
                f"sum and {number(float(apart[-1]))} behind the last one, and what the samples share grows beside it."
            )
    return ""


def _passed_by(f: Findings, good: np.ndarray) -> bool:
    """Whether every readout also reads a row that is good, as behind gates that multiply a stream."""
    links, ends = f.measurement.links, ("recurrent", "attention", "embedding", "residual")
    if not links:
        return False
    readouts = [row for row in f.at("weight").tolist() if f.readout[row]]
    for readout in readouts:
        stack, seen = list(links[readout]), set(links[readout])
        found = []
        while stack:
            row = stack.pop()
            wide = f.width[row] >= WIDE
            if f.kinds[row] in ends or (f.kinds[row] == "weight" and not f.readout[row]):
                found.append(bool(good[row]) and bool(wide))
                continue
            new = [source for source in links[row] if source not in seen]
            seen.update(new)
            stack += new
        if not any(found):
            return False
    return bool(readouts)


def _forgiven(f: Findings, *, kept: bool) -> str:
    """Words on why training brings back what tells samples apart; ``kept`` is whether float32 still holds it.

    One layer alone may bring the samples together, where the others would not, and training soon changes the layer.
    """
    alone = _small(f) or _one_direction(f)
    words = f" {alone} alone makes nearly all of it, and its first steps undo it." if alone else ""
    return words + (_handed_on(f) if kept else "")


def _small(f: Findings) -> str:
    """A layer with small weights, for an adaptive optimiser one of several.

    Such a layer gets gradients of the usual size, and its differences grow with its weights. Measured on digits (4, 6
    and 12 layers of tanh or ReLU with biases, one layer times .001 or .01, 200 steps of gradient descent): losses of
    .04 to .24, beside .03 to .18 with the layer as it was and 2.3 of a guess. With two or three of four hidden layers
    times .001 to .1 Adam ends at .03 to .6, and gradient descent of ReLU at 1.1 to 2.3. With a normaliser of each
    sample, which scales up what the samples share, a start whose other layers bring samples together by a factor 83
    fails with both optimisers (study of verdicts, training half), and starts whose other layers do not still learn.
    """
    rows = f.hidden()
    c, flags = rows["correlation"], rows["weight_flags"]
    known = np.isfinite(c)
    if not known.any():
        return ""
    left = log(np.maximum(1.0 - np.append(_start(f, "correlation", float(c[known][0])), c[known]), 1e-12))
    steps = np.diff(left)
    at = int(np.argmin(steps))
    row = np.flatnonzero(known)[at]
    low = rows["sigma_w"] < f.small_line
    low &= np.array(["zero" not in str(flag).split(", ") for flag in flags], bool)
    opened = low[known] & ((np.arange(len(steps)) == at) | (f.optimiser == "adam"))
    rest = float(left[0] - left[-1] + steps[opened].sum())
    most = math.log(TENTH if f.sample_normed else 100.0)
    return "" if not low[row] or rest > most else str(rows["name"][row])


def _one_direction(f: Findings) -> str:
    """A layer whose weights have one direction, as copies of one unit do that get different gradients.

    The first step gives its units more directions. Measured on digits (three and four layers of ReLU, 300 steps; all
    units of one layer, or all its columns, or all its entries equal): gradient descent ends at .002 to .03 at a rate of
    1 and at .09 to .7 at .1, Adam below .01.
    """
    links, profile = f.measurement.links, f.profile
    if not links or len(f.weights) > DEEP or f.sample_normed:
        return ""
    index = [row for row in f.at("weight").tolist() if not f.readout[row] and not f.later[row]]
    rank, c, chi = (profile[name] for name in ("effective_rank", "correlation", "chi"))
    for place, row in enumerate(index):
        # what averages over a given graph brings samples together, and no weight does
        given = len(links[row]) > 1 and any(f.kinds[source] == "input" for source in links[row])
        if not rank[row] < ONE or given:
            continue
        sources, seen = list(links[row]), set(links[row])
        for source in sources:
            new = [s for s in links[source] if np.isnan(rank[source]) and s not in seen]
            seen.update(new)
            sources += new
        ranked = [s for s in sources if np.isfinite(rank[s])]
        above = ranked if all(rank[s] > SEVERAL and not c[s] > ALIKE for s in ranked) else []
        # where biases make the signal, the weights are not to blame
        own = profile["sigma_b"][row] ** 2 < 0.5 * profile["q"][row]
        later = chi[index[place + 1 :]]
        keeps = float(np.log(later[np.isfinite(later) & (later > 0)]).sum()) > -math.log(100.0)
        return str(profile["name"][row]) if above and own and keeps else ""
    return ""


def _opens(f: Findings) -> bool:
    """Whether the collapse is that of a layer of zeros, which an adaptive optimiser moves by its first step.

    In front of a batch norm plain gradient descent does too, and a short chain of small weights soon grows.
    """
    return f.centred_zeros or f.leaves or (f.optimiser == "adam" and bool(f.shut))


def _rank(f: Findings) -> list[Verdict]:
    """Rank of the rows that have units enough for it and that another layer reads."""
    index = f.at("weight", "recurrent", "residual")
    index = index[
        ~f.readout[index] & ~np.isin(f.profile["op"][index].astype(str), DISTANCES) & ~f.later[index]
    ]
    rows = f.rows(index)
    rank = rows["effective_rank"]
    # behind a bottleneck of a few units the rank is low by design, and a branch that starts at zero has none yet
    known = np.isfinite(rank) & (f.width[index] >= WIDE) & (rows["q"] > 0)
    start = _start(f, "effective_rank", math.nan)
    if not known.any() or not start > SEVERAL:
        return []
    end = float(np.median(rank[known][-max(int(known.sum()) // 10, 1) :]))
    if end > ONE or _passed_by(f, f.profile["effective_rank"] > ONE):
        return []
    gap = rows["isometry_gap"][known]
    gaps = (
        f" The isometry gap ends at {number(float(gap[-1]))}." if len(gap) and not math.isnan(gap[-1]) else ""
    )
    evidence = (
        f"The effective rank of the features falls from {number(start)} at the input to {number(end)} in the last "
        f"layers before the output.{gaps}"
    )
    forgiven = _forgiven(f, kept=end >= 1.0 + 10 * ROUNDED)
    evidence += forgiven
    line = 1.0 + 10 * ROUNDED if f.optimiser == "adam" else 1.02
    # a stream that begins at a learned token, as in CaiT, is alike over samples until its branches have grown
    fed = float(rank[known][-max(int(known.sum()) // 4, 1) :].max()) > 3.0
    grave = end < line and not _opens(f) and not fed and not forgiven
    severity: Severity = "unhealthy" if grave else "warning"
    return [
        verdict(
            "rank-collapse",
            severity,
            evidence,
            measured=end,
            threshold=line if severity == "unhealthy" else ONE,
            layers=names(rows, known & (rank < ONE), -rank, 3),
        )
    ]


def _signal(f: Findings) -> list[Verdict]:
    trend = f.signal
    if trend is None or not trend.beyond(SIGNAL_WARNING):
        return []
    up = trend.slope > 0
    grows = not up and (f.leaves or (f.grows and bool(f.small)))
    severity: Severity = "unhealthy" if abs(trend.total) > SIGNAL_UNHEALTHY and not grows else "warning"
    rate, q = math.exp(trend.slope), f.weights["q"]
    if up is not bool(q[-1] > q[0]):
        return []  # a line past a dip rises, and the signal does not
    evidence = (
        f"The second moment q changes by a factor {number(rate)} ± {number(rate * trend.se, 2)} per layer, from "
        f"{number(float(q[0]))} to {number(float(q[-1]))} over {trend.span:.0f} layers (a factor 10 every "
        f"{number(trend.decade)}; median σ_w = {number(float(np.nanmedian(f.weights['sigma_w'])))})."
    )
    return [
        verdict(
            "exploding-activations" if up else "vanishing-activations",
            severity,
            evidence,
            measured=abs(trend.total) / DECADE,
            uncertainty=trend.total_se / DECADE,
            threshold=(SIGNAL_UNHEALTHY if severity == "unhealthy" else SIGNAL_WARNING) / DECADE,
            layers=names(f.weights, np.isfinite(q), q if up else -q, 3),
        )
    ]


def _streams(f: Findings) -> list[Verdict]:
    """The worst stream: sums that are linked, so that what one adds the next reads."""
    found = [
        v
        for c in f.streams
        if not _normed_stream(f, c) and (v := _stream(f.rows(c), STREAMS[f.optimiser or "sgd"])) is not None
    ]
    return [max(found, key=lambda v: (v.severity == "unhealthy", v.measured or 0.0))] if found else []


def _normed_stream(f: Findings, chain: np.ndarray) -> bool:
    """Whether every layer reads a stream behind a normaliser, which divides by whatever the stream has grown to."""
    readers = {reader for row in chain.tolist() for reader in f.next_rows(row, "norm", *MIXES)}
    return bool(readers) and all(f.kinds[reader] == "norm" for reader in readers)


def _stream(rows: Profile, line: float) -> Verdict | None:
    q = rows["q"]
    if len(q) < SUMS or not np.isfinite(q).all() or (q <= 0).any():
        return None
    # growth between the two ends of each sum: what a normaliser undoes afterwards does not compound
    steps = log(q / np.maximum(rows["stream_q"], 1e-300))
    total = float(np.log(q.max() / q[0]))
    late = float(np.median(steps[len(steps) // 2 :]))
    if total < STREAM_WARNING or late < math.log(1.3):
        return None
    severity: Severity = "unhealthy" if total > line else "warning"
    evidence = (
        f"Each residual sum multiplies q by {number(math.exp(late))} (median of the later half), and the stream "
        f"grows from {number(float(q[0]))} to {number(float(q.max()))} over {len(q)} sums."
    )
    return verdict(
        "residual-growth",
        severity,
        evidence,
        measured=total / DECADE,
        threshold=(line if severity == "unhealthy" else STREAM_WARNING) / DECADE,
        layers=names(rows, np.ones(len(q), bool), q, 3),
    )


def _non_finite(f: Findings) -> list[Verdict]:
    share = f.profile["nonfinite"]
    bad = np.isfinite(share) & (share > 0)
    if not bad.any():
        return []
    first = str(f.profile["name"][np.flatnonzero(bad)[0]])
    evidence = (
        f"{int(bad.sum())} of {len(share)} rows hold NaN or infinity; the first is {first} "
        f"({share[bad][0]:.2%} of its entries)."
    )
    # what a choice throws away, as where(x > 0, log(x), 0) does, reaches neither the loss nor a gradient
    given = [g.state for g in f.measurement.gradients.values()]
    loss = f.meta.get("loss_value")
    thrown = (
        isinstance(loss, float) and math.isfinite(loss) and "finite" in given and "non-finite" not in given
    )
    if thrown:
        evidence += " The loss and every gradient are finite, so a later step left these entries out."
    return [
        verdict(
            "non-finite-activations",
            "warning" if thrown else "unhealthy",
            evidence,
            measured=float(share[bad].max()),
            threshold=0.0,
            layers=names(f.profile, bad),
        )
    ]
