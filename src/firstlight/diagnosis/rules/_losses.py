"""Rules about the loss and the outputs: whether they fit, how low the loss can fall, the size of what it sends back."""

from __future__ import annotations

import math

import numpy as np

from firstlight.diagnosis.catalogue import EXPLANATIONS, verdict
from firstlight.diagnosis.findings import Findings, entries, names, number
from firstlight.diagnosis.rules._gradients import holds_for
from firstlight.diagnosis.rules._paths import FORGIVEN, log_weight_norm, starved
from firstlight.diagnosis.verdict import Severity, Verdict

# Lowest reachable loss over that of a guess.
FLOOR = (0.1, 0.5)
# Classes from which plain gradient descent does not get through two softmaxes. Measured (600 steps, rates up to .5,
# as many Gaussian clusters as classes): the network distinguishes all of 30 classes, .67 of 50 and .08 of 100; with
# Adam all of 100.
MANY = 50.0
# Root mean square of the largest gradient under which an adaptive optimiser's epsilon stops every step.
SMALLEST = 1e-9
# A gradient over its weight (norms, median over the layers) at which plain gradient descent hardly moves or diverges.
# Measured (three layers of ReLU, 300 steps, rates from 10⁻⁵ to 100; squared error and cross-entropy times 10⁻⁴ to 10⁶,
# sums over 64 samples and over 100 outputs, probabilities of 10 to 100 classes): from 10⁻³ down a rate of .1 takes
# nothing away and a rate of 1 a fifth to a half; from 3·10⁻⁴ down a rate of 1 takes 4 % or less; from 5 up a rate of .1
# diverges, and for squared errors .01 too. The product of ratio and best rate is .003 to .07.
SLOW, STILL, STEEP = 1e-3, 5e-4, 5.0
# One layer alone has a quadratic or flatter loss: the rate that it bears is 2/ratio or more. Measured, a linear
# regression on ten standardised columns: ratio 5.6, and a rate of .1 converges.
ALONE = 100.0
USUAL = 0.01
# ‖∂L/∂z‖ of a last layer, times the root of the samples: of order one for a mean, whatever the size of the weights.
# Above this line small gradients come from small weights or embeddings, which grow. Measured (embeddings of deviation
# 10⁻⁴, a learned factor of .001 before the last layer): both end below .01 at a rate of 1.
FELT = 0.05
# 1 − c of outputs that are the same number for every sample, and a correlation of samples that are told apart.
SAME, APART = 1e-6, 0.95
# Root mean square of the outputs, where no targets say what they are for.
OUTPUTS = (10.0, 100.0)


def loss_verdicts(f: Findings) -> list[Verdict]:
    """The verdicts about the loss itself."""
    return [*_misfit(f), *_half(f), *_scale(f), *_outputs(f), *_one_output(f), *_unheard(f)]


def _misfit(f: Findings) -> list[Verdict]:
    what = str(f.meta.get("misfit", ""))
    kind = str(f.meta.get("misfit_kind", ""))
    last = tuple(name for name in (str(f.meta.get("output", "")),) if name)
    if what in ("softmax", "bounded", "cosine", "reach"):
        return _floor(f, what, kind, last)
    if what == "axis":
        evidence = f"The outputs of each class sum to 1 over the samples of the batch; the loss is {kind}."
        return [verdict("softmax-over-samples", "unhealthy", evidence, measured=0.0, layers=last)]
    if what == "broadcast":
        sizes = str(f.meta["pairs"])
        evidence = f"The {kind} is the mean over {sizes} pairs of an output and a target."
        count = float(sizes.split("×")[0])
        return [verdict("broadcast-loss", "unhealthy", evidence, measured=count, threshold=1.0, layers=last)]
    if what == "unbounded":
        evidence = f"The {kind} is taken of outputs that are no logarithms of probabilities."
    elif what == "no-logarithm":
        evidence = f"The {kind} is taken of probabilities instead of their logarithms."
    else:
        return []
    severity: Severity = "unhealthy" if what == "unbounded" else "warning"
    loss = float(f.meta["loss_value"])
    specific = {}
    if "misfit_axis" in f.meta:
        evidence += f" They sum to one over axis {f.meta['misfit_axis']}, which is not that of the classes."
        specific = {"cause": "log_softmax over another axis than that of the classes"}
    return [verdict("unbounded-loss", severity, evidence, measured=loss, layers=last, **specific)]


def _floor(f: Findings, what: str, kind: str, last: tuple[str, ...]) -> list[Verdict]:
    floor, guess = float(f.meta["floor"]), float(f.meta["guess"])
    share = floor / guess if guess > 0 else math.inf
    if share <= FLOOR[0]:
        return []
    evidence = (
        f"The {kind} of these outputs cannot fall below {number(floor)}; the best constant output without bounds "
        f"has {number(guess)}."
    )
    if what != "reach":
        return [_squashed(f, what, share, evidence, last)]
    grave = share > FLOOR[1]
    severity: Severity = "unhealthy" if grave else "warning"
    line = FLOOR[1] if grave else FLOOR[0]
    return [verdict("unreachable-targets", severity, evidence, measured=share, threshold=line, layers=last)]


_COSINES = {
    "cause": "the scores are cosines of directions, which lie between −1 and 1",
    "remedy": "multiply the cosines by a scale (16 to 64, or a learned one), or divide by a temperature",
}


def _squashed(f: Findings, what: str, share: float, evidence: str, last: tuple[str, ...]) -> Verdict:
    """Two squashing functions in a row: classes can still be distinguished, at a rate that falls with their number."""
    classes = float(f.meta.get("classes", 0))
    if what != "softmax" or classes < MANY or f.optimiser == "adam":
        told = _COSINES if what == "cosine" else {}
        return verdict(
            "squashed-logits", "warning", evidence, measured=share, threshold=FLOOR[0], layers=last, **told
        )
    evidence += f" Among {classes:.0f} classes the gradient of a softmax of a softmax is too small."
    evidence += holds_for(["sgd"], "forgive it")
    unit = "classes behind a softmax"
    return verdict(
        "squashed-logits", "unhealthy", evidence, measured=classes, threshold=MANY, layers=last, unit=unit
    )


def _half(f: Findings) -> list[Verdict]:
    """Scores for a cross-entropy that a ReLU has cut at zero."""
    rows = f.rows(f.profile["name"] == str(f.meta.get("output", "")))
    if f.meta.get("loss_kind") != "cross-entropy" or len(rows) != 1 or rows["kind"][0] != "activation":
        return []
    if not str(rows["op"][0]).lower().startswith("relu") or "logit_std" not in f.meta:
        return []
    evidence = (
        f"The scores come out of {rows['name'][0]}, which cuts them at zero: no gradient is left below."
    )
    return [verdict("squashed-logits", "warning", evidence, layers=names(rows, np.ones(1, bool)))]


def _scale(f: Findings) -> list[Verdict]:
    """Gradients too small for any optimiser, or far larger than their weights, where the loss is the caller's own."""
    if f.drawn:
        return []
    logs = {
        name: g.log_norm - 0.5 * math.log(max(g.entries, 1))
        for name, g in f.measurement.gradients.items()
        if g.state == "finite"
    }
    if not logs:
        return []
    top = max(logs, key=logs.__getitem__)
    if logs[top] < math.log(SMALLEST) and not f.learnt:
        evidence = f"The largest gradient, that of {top}, has root mean square {number(math.exp(logs[top]))}."
        return [
            verdict(
                "loss-scale",
                "unhealthy",
                evidence,
                measured=math.exp(logs[top]),
                threshold=SMALLEST,
                layers=(top,),
            )
        ]
    return [] if f.optimiser == "adam" else _rate(f)


def _rate(f: Findings) -> list[Verdict]:
    """A scale of the loss for which the usual rates of plain gradient descent are too small or too large."""
    rows = f.weights
    with np.errstate(invalid="ignore"):
        ratio = rows["log_weight_grad"] - log_weight_norm(rows)
    ratio = ratio[np.isfinite(ratio)] if len(ratio) else ratio
    if not len(ratio):
        return []
    middle, top = math.exp(float(np.median(ratio))), math.exp(float(ratio.max()))
    # where one layer gets a usual gradient, the others' are small along the depth and not by the loss
    low = middle < SLOW and top < 10 * SLOW and not f.learnt and not _felt(f) > FELT
    steep = ALONE if len(rows) == 1 else STEEP
    if not low and middle <= steep:
        return []
    severity: Severity = "unhealthy" if middle < STILL else "warning"
    line = steep if not low else STILL if severity == "unhealthy" else SLOW
    evidence = (
        f"The norm of ∂L/∂W is {number(middle)} times that of the weight (median over the layers): plain gradient "
        f"descent {'hardly moves at rates far below' if low else 'diverges at rates far above'} "
        f"{number(USUAL / middle, 2)}."
    )
    if f.optimiser is None:
        evidence += " Adaptive optimisers such as Adam forgive it."
    specific = _squares_of_laws(f) if low else _summed(f)
    return [
        verdict(
            "loss-scale",
            severity,
            evidence,
            measured=middle,
            threshold=line,
            unit="norm of ∂L/∂W over that of the weight",
            **specific,
        )
    ]


def _felt(f: Findings) -> float:
    """The largest norm of ∂L/∂z over the last layers, times the root of the number of samples or places."""
    rows = f.rows(np.flatnonzero(f.readout & (f.profile["kind"] == "weight")))
    count = entries(rows)
    logs = (
        rows["log_grad"] + 0.5 * np.log(count) + 0.5 * np.log(count / np.maximum(f.extra(rows, "units"), 1.0))
    )
    return math.exp(float(np.max(logs[np.isfinite(logs)], initial=-math.inf)))


def _squares_of_laws(f: Findings) -> dict[str, str]:
    if "law" not in f.meta:
        return {}
    return {
        "cause": (
            f"a squared error of the probabilities of {f.meta['law']} classes: the slope of the softmax and the share "
            "of each class in the mean both fall with the number of classes"
        ),
        "remedy": "give the scores, without the softmax, to a cross-entropy, or use an adaptive optimiser",
    }


def _summed(f: Findings) -> dict[str, str]:
    """What is told of a loss that is a sum, by its value over its mean."""
    count = float(f.meta.get("loss_value", math.nan)) / (float(f.meta.get("loss_mean", math.nan)) or math.nan)
    if not count > 1.5:
        return {}
    return {
        "cause": f"the loss is a sum over {count:.0f} entries, and its gradients are as many times as large",
        "remedy": f"average the loss (reduction='mean'), or divide the rate by {count:.0f}",
    }


# Verdicts that name why gradients are large.
_REASONS = {
    "first-loss",
    "target-scale",
    "logit-scale",
    "input-scale",
    "exploding-gradients",
    "residual-growth",
}


def without_echoes(verdicts: list[Verdict]) -> list[Verdict]:
    """The verdicts without a scale of the loss where such gradients have a reason with a name of its own."""
    large = any(v.code in _REASONS and v.severity in ("unhealthy", "warning") for v in verdicts)
    small = any(v.code == "vanishing-gradients" and v.severity == "unhealthy" for v in verdicts)

    def echo(v: Verdict) -> bool:
        if (
            v.code != "loss-scale" or v.cause != EXPLANATIONS[v.code].cause
        ):  # the loss itself was found to be why
            return False
        return large if v.threshold in (STEEP, ALONE) else small and v.threshold in (SLOW, STILL)

    return [v for v in verdicts if not echo(v)]


def _outputs(f: Findings) -> list[Verdict]:
    """Outputs of a last layer that are far larger than one, where no loss says what they are for."""
    if "loss_kind" in f.meta or "misfit" in f.meta:
        return []
    rows = f.rows(f.profile["name"] == str(f.meta.get("output", "")))
    if len(rows) != 1 or rows["kind"][0] != "weight" or not float(rows["q"][0]) > OUTPUTS[0] ** 2:
        return []
    size = math.sqrt(float(rows["q"][0]))
    grave = size > OUTPUTS[1]
    evidence = f"The outputs of {rows['name'][0]} have root mean square {number(size)}."
    return [
        verdict(
            "output-scale",
            "unhealthy" if grave else "warning",
            evidence,
            measured=size,
            threshold=OUTPUTS[1] if grave else OUTPUTS[0],
            layers=names(rows, np.ones(1, bool)),
        )
    ]


def _one_output(f: Findings) -> list[Verdict]:
    """Outputs that are the same for all samples, though the layers in front tell the samples apart."""
    links, c, q = f.measurement.links, f.profile["correlation"], f.profile["q"]
    # the cosine of numbers is 1 or −1
    alike = np.where(f.extra(f.profile, "units") > 1, c > 1.0 - SAME, f.profile["channel_var"] <= SAME**2 * q)
    readouts = [row for row in f.at("weight").tolist() if f.readout[row] and np.isfinite(c[row])]
    if f.one_sample or not links or not readouts or not alike[readouts].all():
        return []
    for row in readouts:
        sources = [s for s in links[row] if np.isfinite(c[s])]
        # tokens, places and streams have ways of their own to begin alike, as at a learned token
        plain = all(str(f.profile["shape"][s]).count("×") == 1 for s in (row, *sources))
        if not plain or any("zero" in str(flag) for flag in f.profile["weight_flags"]):
            return []
        # where biases make the outputs, or weights are zero, the samples are lost in the layer itself
        own = f.profile["sigma_b"][row] ** 2 < 0.5 * q[row] and f.profile["sigma_w"][row] > 0
        if not own or not sources or any(c[s] > APART for s in sources):
            return []
    first, before = names(f.profile, np.isin(np.arange(len(c)), readouts), c), links[readouts[0]][0]
    evidence = (
        f"{first[0]} gives the same outputs for every sample, while the correlation between samples is "
        f"{number(float(c[before]))} in front of it, at {f.names[before]}."
    )
    return [
        verdict(
            "ordered",
            "unhealthy",
            evidence,
            measured=0.0,
            threshold=SAME,
            unit="1 − c of the outputs",
            layers=first,
            cause="a mean, a sum or a softmax over the axis of the samples (dim=0) in front of the layer",
            remedy="take it over the axis of tokens or places",
        )
    ]


def derivative_verdicts(f: Findings) -> list[Verdict]:
    """Derivatives by the points of the forward, on which the loss depends and which teach nothing."""
    found: dict[str, str] = dict(f.meta.get("derivatives", {}))
    for kind, (code, what, specific) in _DERIVATIVES.items():
        places = tuple(place or str(f.meta.get("model", "model")) for place, k in found.items() if k == kind)
        if places:
            evidence = f"The loss reads a derivative that is taken in {places[0]}, and {what}."
            count = float(len(places))
            return [
                verdict(
                    code, "unhealthy", evidence, measured=count, threshold=0.0, layers=places[:12], **specific
                )
            ]
    return []


_DERIVATIVES: dict[str, tuple[str, str, dict[str, str]]] = {
    "graph": (
        "cut-gradients",
        "no gradient passes through it: it was taken without create_graph=True",
        {
            "cause": "torch.autograd.grad without create_graph=True: the derivative is a number without a graph",
            "remedy": "take the derivative with create_graph=True",
        },
    ),
    "zero": (
        "zero-gradients",
        "it is zero at every point, whatever the parameters are",
        {
            "cause": (
                "a second derivative of a function that is linear in pieces, such as ReLU, or a first one of a "
                "function with steps"
            ),
            "remedy": "use a smooth activation such as tanh, SiLU or sine",
        },
    ),
}


def _unheard(f: Findings) -> list[Verdict]:
    """An output whose term in the caller's loss has hardly any weight beside the others."""
    rows = [row for row in f.at("weight").tolist() if f.readout[row]]
    if f.drawn or len(rows) < 2 or starved(f) is not None:
        return []
    place = {row: i for i, row in enumerate(f.at("weight").tolist())}
    with np.errstate(invalid="ignore"):
        moved = (f.weights["log_weight_grad"] - log_weight_norm(f.weights))[[place[row] for row in rows]]
        most = moved[np.isfinite(moved)].max(initial=-math.inf)
        less = np.minimum(most - moved, -f.sensitivity[rows])
    less = np.where(np.isfinite(less), less, 0.0)
    worst = int(np.argmax(less))
    if not less[worst] > FORGIVEN:
        return []
    name = f.names[rows[worst]]
    evidence = (
        f"The outputs of {name} have {number(math.exp(-float(less[worst])), 2)} of the part in the loss that the "
        "other outputs have, and so much less ∂L/∂W beside the weight."
    )
    return [
        verdict(
            "starved-path",
            "unhealthy",
            evidence,
            measured=float(less[worst]) / math.log(10.0),
            threshold=FORGIVEN / math.log(10.0),
            layers=(name,),
            cause="a term of the loss with hardly any weight, or on a far smaller scale than the others",
            remedy="bring the terms of the loss to one scale",
        )
    ]
