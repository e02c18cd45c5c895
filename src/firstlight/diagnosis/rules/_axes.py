"""Rules along axes other than depth: the tokens of a sample, attention, channels."""

from __future__ import annotations

import math

import numpy as np

from firstlight.diagnosis._loops import reached
from firstlight.diagnosis.catalogue import verdict
from firstlight.diagnosis.findings import MIXES, Findings, names, number
from firstlight.diagnosis.rules._gradients import holds_for
from firstlight.diagnosis.verdict import Severity, Verdict

# 1 − c between the tokens of one sample.
COLLAPSED, COLLAPSING = 100.0, 10.0
# The part in the loss, ‖∂L/∂z‖ ‖z‖ beside a readout's, below which a row's tokens are not read.
FELT = 0.01
# 1 − c at the end of what is unhealthy, with attention and without. Without attention most layers keep what tells the
# tokens apart. Measured: points on rays (8 layers, 1.2·10⁻³) and a function on a grid (four spectral layers, 1.1·10⁻³)
# train; layers that average over a graph's neighbours still learn with 3 layers (1.7·10⁻⁴), and with 5 (10⁻⁷) plain
# gradient descent stays at a guess.
ALIKE, MERGED = 1e-2, 1e-4
# 1 − c from which tokens can be distinguished at all: copies of one stream begin below this line.
APART = 1e-2
# Attention layers without a skip around them from which a readout of all tokens together learns nothing. Measured
# (tokens of order one, the class is that of the fourth of eight, skips around the other layers alone, 300 steps): with
# 6 gradient descent ends at .8 and Adam at .0, with 8 at 2.3 and .1, with 12 both at 2.3.
BLIND = {"sgd": 8, "adam": 12}
# Attention layers, with no skip anywhere, from which a stack learns nothing. Measured (tokens of 32 units, attention
# and two layers of GELU with a layer norm behind each, the class is that of the fourth of twelve tokens, 200 steps,
# the mean or the fourth token read out; a guess has 1.39): with 2 and 3 gradient descent ends at .005 to .04 and Adam
# at .002, with 4 Adam at .4 to 1.0, with 6 gradient descent at .2 and Adam at 1.35.
ALONE = 4
# The cosine from which the tokens of an input are one thing that all tokens share, as the direction of a ray.
SHARED = 0.99
# Units from which a cosine says something of tokens.
WIDE = 8
# Mean largest weight of a query; with a stream around the attention for gradient descent alone, and from two layers on.
# Measured (64 sequences of eight tokens, each token's target is the one before it, one, two and four blocks of one
# head, 200 steps at the best of three rates, a guess has 3.69): with a stream Adam ends at .08 to .2 with .95 and .99,
# gradient descent at .1 to .8 with .95, and with .99 at .1, 2.0 and 2.5; without a stream at 1.0 to 3.5, both.
ONE_HOT, SHARP, PASSED = 0.9, 0.7, 0.98
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
    """What happens among tokens and in channels."""
    return [*_tokens(f), *_drowned(f), *_attention(f), *(_over_samples(f) or _crossed(f)), *_channels(f)]


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
    # keys that only score, as attention begins, are no part of what reaches the loss
    index = index[~(f.sensitivity[index] < math.log(FELT))]
    # where attention averages, tokens are alike at the end of a branch, but not in the stream that the branch is
    # added to
    kept = [math.isfinite(c[i]) and (f.kinds[i] == "residual" or not f.joins(i)) for i in index.tolist()]
    index = index[np.array(kept, bool)]
    if len(index) < 4 or not len(begin):
        return []
    start = float(c[begin[0]])
    tail = index[-max(len(index) // 10, 1) :]
    end = float(np.median(c[tail]))
    left, before = max(1.0 - end, 1e-9), (1.0 - start) / _told_less(f, c)
    if before < APART:
        return []
    shrink = before / left
    if shrink < COLLAPSING or end < 0.95:
        return []
    # a readout of all tokens together, behind a stream that goes around every attention, needs no single token
    readout = [row for row in f.at("weight").tolist() if f.readout[row]]
    together = f.residual and not np.isfinite(f.profile["token_correlation"][readout]).any()
    layers = f.kinds.count("attention")
    together &= _around(f) or layers < BLIND["adam" if f.optimiser == "adam" else "sgd"]
    together |= 0 < layers < ALONE
    alike = left < (ALIKE if layers else MERGED)
    severity: Severity = "unhealthy" if shrink > COLLAPSED and alike and not together else "warning"
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


def _told_less(f: Findings, c: np.ndarray) -> float:
    """The factor by which 1 − c shrinks where something that all tokens share is put beside the tokens or added.

    A code of the whole sample, a time step or the direction of a ray makes the tokens of a sample alike and takes
    nothing from what tells them apart.
    """
    links = f.measurement.links
    shared: list[bool] = []
    times = 1.0
    for row in range(len(c)):
        sources = [s for s in links[row] if s < row] if links else []
        alike = not math.isfinite(c[row]) or c[row] > SHARED
        own = f.kinds[row] in ("input", "embedding")
        shared.append(alike and (own or bool(sources)) and all(shared[s] for s in sources))
        others = [1.0 - c[s] for s in sources if not shared[s] and math.isfinite(c[s])]
        if (
            others
            and len(others) < len(sources)
            and any(shared[s] for s in sources)
            and math.isfinite(c[row])
        ):
            times *= max(max(others) / max(1.0 - c[row], 1e-9), 1.0)
    return times


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
        if _into_activation(f, row):
            continue
        sources = [s for s in f.measurement.links[row] if apart[s] > TOLD] if f.measurement.links else []
        before = [s for s in sources if f.kinds[s] in ("embedding", "weight", "input")]
        size = _size(f, row)
        if not before or len(before) < len(sources) or not math.isfinite(apart[row] * size):
            continue
        token = max(before, key=lambda s: float(apart[s]))
        # what meets the tokens was made of tokens too, as in a sum over the paths of a chain
        if any(token in reached(s, f.measurement.links) for s in f.measurement.links[row] if s != token):
            continue
        times = min(math.sqrt(apart[token] / max(apart[row], 1e-12)), size)
        if times > DROWNED[0] and (worst is None or times > worst[0]):
            worst = (times, token, row)
    if worst is None:
        return _beside(f, apart)
    times, token, row = worst
    evidence = (
        f"What is added to {f.names[token]} is the same for every sample: of the mean square of {f.names[row]} a share "
        f"of {number(float(apart[row]))} differs between samples, of that of {f.names[token]} "
        f"{number(float(apart[token]))}. In root mean square the tokens' share is {number(times)} times smaller there."
    )
    return _drowning(f, times, evidence, (f.names[row], f.names[token]))


def _into_activation(f: Findings, row: int) -> bool:
    """Whether an activation reads a row: what is added there is a bias, as of a gate or a time step."""
    return any(
        f.kinds[reader] not in ("norm", "residual", *MIXES) for reader in (f.feeds[row] if f.feeds else ())
    )


def _drowning(f: Findings, times: float, evidence: str, layers: tuple[str, ...]) -> list[Verdict]:
    """The verdict on tokens that something larger by this factor is added to."""
    adam = times > DROWNED[2]
    grave = times > DROWNED[1] and (f.optimiser != "adam" or adam)
    if f.optimiser is None and grave and not adam:
        evidence += holds_for(["sgd"], "are only slowed down")
    return [
        verdict(
            "drowned-tokens",
            "unhealthy" if grave else "warning",
            evidence,
            measured=times,
            threshold=(DROWNED[2] if adam else DROWNED[1]) if grave else DROWNED[0],
            layers=layers,
        )
    ]


def _beside(f: Findings, apart: np.ndarray) -> list[Verdict]:
    """Tokens that a constant of the model's is added to, in a sum that has no row of its own."""
    worst: tuple[float, int, float] | None = None
    for name, size in dict(f.meta.get("beside", {})).items():
        row = f.names.index(name)
        if not apart[row] > TOLD or f.kinds[row] not in ("embedding", "weight"):
            continue
        if not f.feeds or not f.feeds[row] or _into_activation(f, row):
            continue
        q = float(f.profile["q"][row])
        times = min(math.sqrt((q + size**2) / q), math.sqrt(q + size**2))
        if times > DROWNED[0] and (worst is None or times > worst[0]):
            worst = (times, row, size)
    if worst is None:
        return []
    times, row, size = worst
    evidence = (
        f"What is added to {f.names[row]} is the same for every sample and has root mean square {number(size)}, the "
        f"tokens have {number(math.sqrt(float(f.profile['q'][row])))}: in the sum they are {number(times)} times "
        "smaller."
    )
    return _drowning(f, times, evidence, (f.names[row],))


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
    # a softmax that multiplies nothing, as one of which an entropy is taken, is no attention
    known = np.isfinite(sharpest) & ((rows["op"] != "softmax") | (f.extra(rows, "weighs") > 0))
    bad = known & (sharpest > SHARP)
    if not bad.any():
        return []
    worst = float(sharpest[bad].max())
    # a few sharp layers are what training makes, all of them what a start gives
    at = f.at("attention")
    around = all(_stream_around(f, row) for row in at[bad].tolist())
    line = PASSED if around else ONE_HOT
    grave = int((sharpest[known] > line).sum()) * 2 >= int(known.sum())
    grave &= not around or (f.optimiser != "adam" and len(at) > 1)
    worst_at = int(np.argmax(np.where(bad, sharpest, -np.inf)))
    evidence = (
        f"In {int(bad.sum())} of {int(known.sum())} attention layers the largest weight of a query exceeds {SHARP:.0%} "
        f"on average; the sharpest, {rows['name'][worst_at]}, has {worst:.1%} and an entropy of "
        f"{number(float(rows['attention_entropy'][worst_at]))} of its largest value."
    )
    return [
        verdict(
            "one-hot-attention",
            "unhealthy" if grave else "warning",
            evidence,
            measured=worst,
            threshold=line if grave else SHARP,
            layers=names(rows, bad, sharpest),
        )
    ]


def _stream_around(f: Findings, row: int) -> bool:
    """Whether what attention gives is added to something that the attention has not made."""
    links = f.measurement.links
    layers = [row, *f.next_rows(row, *MIXES)]
    sums = {end for start in layers for end in f.next_rows(start, "residual", *MIXES)}
    return any(
        f.kinds[end] == "residual" and any(row not in reached(source, links) for source in links[end])
        for end in sums
    )


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


def _over_samples(f: Findings) -> list[Verdict]:
    """A softmax inside the model over the axis of the samples.

    With two axes alone the first may hold nodes of a graph or parts of a set, which is a design.
    """
    found = {n: s for n, s in dict(f.meta.get("weighed", {})).items() if n != f.meta.get("output", "")}
    if not found:
        return []
    name = max(found, key=lambda n: len(found[n]))
    evidence = (
        f"The softmax of {name} (shape {'×'.join(map(str, found[name]))}) is taken over axis 0, which holds the "
        "samples: each sample's weights depend on the others, and those of a sample alone are 1."
    )
    severity: Severity = "unhealthy" if len(found[name]) > 2 else "warning"
    return [verdict("softmax-axis", severity, evidence, measured=0.0, layers=tuple(found)[:12])]


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
