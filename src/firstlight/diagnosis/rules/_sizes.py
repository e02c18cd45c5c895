"""Rules about absolute sizes: the first loss, targets, logits, embeddings, and the range of number formats."""

from __future__ import annotations

import math

from firstlight.diagnosis.catalogue import verdict
from firstlight.diagnosis.findings import MIXES, Findings, names, number
from firstlight.diagnosis.rules._formats import range_verdicts
from firstlight.diagnosis.rules._gradients import OPTIMISERS, holds_for
from firstlight.diagnosis.verdict import Severity, Verdict

# First loss over that of a guess. Logits of deviation s cost about s²/2 nats, a regression as many variances as its
# outputs and targets lie apart. Measured (digits and tokens, 300 steps at the best of five rates: readouts, all layers
# or the last bias on too large a scale, embeddings of deviation 1 to 10 that are also the readout; fully connected,
# convolutional and attention): up to 300 guesses all come back below half of a guess with Adam, and up to 900 by plain
# gradient descent; beyond, layers of ReLU with N(0, 1) weights or with 20 times torch's start do not with Adam, nor
# with 40 times by either. A single layer, which has no hidden layer to turn, comes back from 9 guesses and not from
# 30. Nor do deep chains: from 60 guesses gradient descent ends at .4 with four layers of ReLU, 1.1 with six, 1.2 to 1.6
# with eight; Adam at .5 to .9 with eight and .5 to 1.4 with twelve.
# Streams of residual blocks (4 times torch's start, the same measurement) come back with Adam from 1100 guesses to .05,
# and from 12 500 no better than to 1.6.
LOST, CLASSES, STREAMS = 3.0, {"sgd": 1000.0, "adam": 300.0}, {"sgd": 1000.0, "adam": 3000.0}
ALONE, CHAIN = 30.0, {"sgd": 5, "adam": 10}
REALS = (10.0, 1e3)
# Deviation of the logits over classes from which a softmax is nearly one-hot, and from which training does not come
# back where the loss is not known: such logits cost about 1.5 deviations, the first loss above. The last is for one
# layer and for deep chains. Measured: cosines of 96 pairs times 1000 (67 guesses) end below .001 by both.
LOGITS = (5.0, 200.0, 40.0)
TARGETS = (30.0, 1e3)
# A binary cross-entropy of two times ln 2 or less knows nothing and claims nothing. Measured: with one positive in 500
# and no prior, 150 steps reach .003 by gradient descent and by Adam.
EVEN = 2.0 * math.log(2.0)
# Cross-entropy of a constant output under which the targets are constant too.
TRIVIAL = 1e-3
# Root mean square of an embedding that is read without a normaliser. Measured for two that meet in a product (200 users
# and 200 items of 16 entries, squared error 3.35, 300 steps at a rate of 1): deviation .1 ends at .12, .01 at 1.13,
# 10⁻⁴ at 3.32, 10⁻⁶ at 3.35; a rate of 10 ends below .001 from each, and so does Adam (.01) from 10⁻⁶.
EMBEDDING = (1e-3, 10.0)


def size_verdicts(f: Findings) -> list[Verdict]:
    """The verdicts about sizes alone."""
    loss = _first_loss(f)
    graver = [
        v for v in _targets(f) if not loss or (v.severity, loss[0].severity) == ("unhealthy", "warning")
    ]
    return [
        *(loss if not graver else []),
        *graver,
        *([] if loss else _logits(f)),
        *_embeddings(f),
        *range_verdicts(f),
    ]


def _fact(f: Findings, name: str) -> float:
    value: object = f.meta.get(name)
    return float(value) if isinstance(value, (int, float)) else math.nan


def _graded(value: float, lines: tuple[float, float]) -> tuple[Severity, float] | None:
    if not value > lines[0]:
        return None
    return ("unhealthy", lines[1]) if value > lines[1] else ("warning", lines[0])


def _first_loss(f: Findings) -> list[Verdict]:
    loss, guess = _fact(f, "loss_mean"), _fact(f, "guess")
    if not loss > 0 or not guess > 0:
        return []
    kind, whose = str(f.meta.get("loss_kind", "")), "the best constant output has"
    if "binary" in kind and guess < TRIVIAL:
        # each column of the targets has one value, as a generator's "real", and that says nothing of the start
        guess, whose = math.log(2.0), "even odds have"
    even = "binary" in kind and loss < EVEN
    # a squared error counts squared deviations, the others count deviations
    reals = REALS if "squared" in kind else (math.sqrt(REALS[0]), math.sqrt(REALS[1]))
    lines = _classes(f) if "entropy" in kind else reals
    graded = _graded(loss / guess, lines)
    if graded is None:
        return []
    severity, line = graded
    if even:
        severity, line = "warning", LOST
    evidence = f"The first loss ({kind}) is {number(loss)}; {whose} {number(guess)}."
    if (
        f.optimiser is None
        and severity == "unhealthy"
        and line == CLASSES["adam"]
        and loss < CLASSES["sgd"] * guess
    ):
        evidence += f" This holds for {OPTIMISERS['adam']}; {OPTIMISERS['sgd']} comes back at a small rate."
    target, output = _fact(f, "target_rms"), _fact(f, "output_rms")
    if math.isfinite(target):
        evidence += f" Targets have root mean square {number(target)}, outputs {number(output)}."
    spread = _fact(f, "logit_std")
    if math.isfinite(spread):
        evidence += f" Logits deviate by {number(spread)} over the classes."
    cause = _PRIOR if even else {}
    if target > output and not even:
        cause = {
            "cause": "the targets were not standardised: the output must first grow to their size and mean",
            "remedy": "subtract the targets' mean and divide by their deviation, or start the last bias at the mean",
        }
    last = names(f.profile, f.readout & (f.profile["kind"] == "weight"))
    return [
        verdict(
            "first-loss",
            severity,
            evidence,
            measured=loss / guess,
            threshold=line,
            layers=last[-3:],
            **cause,
        )
    ]


def _classes(f: Findings) -> tuple[float, float]:
    """The lines of a loss over classes; without a named optimiser the graver."""
    chain = not f.residual and not f.normalised
    lines = {
        name: ALONE if not len(f.hidden()) or (chain and len(f.weights) > CHAIN[name]) else line
        for name, line in (STREAMS if len(f.at("residual")) > 2 else CLASSES).items()
    }
    return LOST, lines[f.optimiser] if f.optimiser else min(lines.values())


_PRIOR = {
    "cause": "the outputs begin near even odds, and one of the two outcomes is rare",
    "remedy": "start the last bias at the log-odds of the targets' mean (the prior of a detector)",
}


def _targets(f: Findings) -> list[Verdict]:
    size = _fact(f, "target_rms")
    graded = _graded(size, TARGETS)
    if graded is None:
        return []
    severity, line = graded
    output = _fact(f, "output_rms")
    if output > size / 10:
        return []  # the model is scaled to its targets
    evidence = f"The targets have root mean square {number(size)}, the outputs {number(output)}."
    return [verdict("target-scale", severity, evidence, measured=size, threshold=line)]


def _logits(f: Findings) -> list[Verdict]:
    size = _fact(f, "logit_std")
    graded = _graded(size, (LOGITS[0], LOGITS[2] if _classes(f)[1] == ALONE else LOGITS[1]))
    if graded is None or f.learnt:
        return []
    severity, line = graded
    evidence = f"The outputs deviate by {number(size)} over the classes of one sample."
    return [verdict("logit-scale", severity, evidence, measured=size, threshold=line)]


def _embeddings(f: Findings) -> list[Verdict]:
    """Embeddings off order one that a layer reads with no normaliser in between."""
    bad = []
    for i in f.at("embedding").tolist():
        size = math.sqrt(max(float(f.profile["q"][i]), 0.0))
        readers = f.next_rows(i, "norm", *MIXES)
        plain = [r for r in readers if f.kinds[r] != "norm"]
        if plain and math.isfinite(size) and size > 0 and not EMBEDDING[0] <= size <= EMBEDDING[1]:
            bad.append((i, size))
    if not bad:
        return _products(f)
    worst, size = max(bad, key=lambda pair: abs(math.log(pair[1])))
    evidence = (
        f"The entries of {f.profile['name'][worst]} have root mean square {number(size)}, and "
        "a layer reads them without a normaliser."
    )
    return [
        verdict(
            "embedding-scale",
            "warning",
            evidence,
            measured=size,
            threshold=EMBEDDING[0] if size < 1 else EMBEDDING[1],
            layers=tuple(str(f.profile["name"][i]) for i, _ in bad[:12]),
        )
    ]


def _products(f: Findings) -> list[Verdict]:
    """Small embeddings that only meet one another, in a product: each gets a gradient on the scale of the other."""
    output, at = _fact(f, "output_rms"), f.at("embedding").tolist()
    sizes = {i: math.sqrt(max(float(f.profile["q"][i]), 0.0)) for i in at}
    small = [i for i in at if f.feeds and not f.feeds[i] and 0 < sizes[i] < EMBEDDING[0]]
    # of a sum of them the outputs would have their size
    if len(small) < 2 or not output < 0.1 * min(sizes[i] for i in small):
        return []
    layers = tuple(str(f.profile["name"][i]) for i in small[:12])
    size = max(sizes[i] for i in small)
    evidence = (
        f"The entries of {layers[0]} and {layers[1]} have root mean square {number(size)} and less, and meet in a "
        f"product, which makes outputs of {number(output)}: the gradient of each is as small as the other."
    )
    if f.optimiser is None:
        evidence += holds_for(["sgd"], "forgive it")
    return [
        verdict(
            "embedding-scale",
            "warning" if f.optimiser == "adam" else "unhealthy",
            evidence,
            measured=size,
            threshold=EMBEDDING[0],
            layers=layers,
        )
    ]
