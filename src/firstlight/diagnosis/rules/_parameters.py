"""Rules about the gradient of every parameter: zero, not finite, cut off; a zero that is meant is a note."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from firstlight.diagnosis.catalogue import verdict
from firstlight.diagnosis.findings import Findings, names, number
from firstlight.diagnosis.rules._losses import derivative_verdicts
from firstlight.diagnosis.rules._paths import log_weight_norm, weight_entries
from firstlight.diagnosis.verdict import Severity, Verdict
from firstlight.probe.measurement import ParameterGradient

# The verdict that a cause of exact zeros belongs to, how grave it is, and what the evidence says of it.
_CAUSES: dict[str, tuple[str, Severity, str]] = {
    "meant": ("zero-gradients", "note", "a zero factor that gets a gradient itself stands before them"),
    "empty": ("zero-gradients", "note", "no entry of this batch came to them"),
    "Embedding": ("zero-gradients", "note", "all that this batch reads of them is the entry for padding"),
    "masked": ("zero-gradients", "note", "a frozen factor of zero, such as a mask, stands before them"),
    "constant": ("zero-gradients", "warning", "a factor that no parameter moves is zero in this pass"),
    "underflow": ("zero-gradients", "unhealthy", "the gradient falls below the range of its number format"),
    "flat": ("zero-gradients", "unhealthy", "an activation has no slope on any sample"),
    "two-zeros": ("two-zeros", "unhealthy", "both factors of a product are zero"),
    "step": ("step-function", "unhealthy", "a step function stands before them"),
    "one-key": (
        "zero-gradients",
        "warning",
        "a softmax over one unit, as attention to one key, weighs something else",
    ),
    "softmax": ("one-unit-softmax", "unhealthy", "a softmax over one unit stands before them"),
}

# A gradient over the median of the others, each beside its weight, from which it is float32's rounding.
ROUNDING, APART = 1e-7, math.log(1e3)
# Normalisers whose groups are known.
KNOWN = ("batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm", "normalize")
# Zeros without a known cause may cancel by chance on one batch; in this share of all entries they do not.
MANY, NEARLY_ALL = 0.5, 0.9


def parameter_verdicts(f: Findings) -> list[Verdict]:
    """What the backward pass brought to every parameter."""
    derived = derivative_verdicts(f)
    found = [
        *_frozen(f),
        *_unregistered(f),
        *_non_finite(f),
        *_all_zero(f),
        *_without_gradient(f),
        *_cut(f),
        *_one_entry(f),
        *_zero_gains(f),
    ]
    # what a derivative without a slope does to the parameters has its own name and cause
    return [*derived, *(v for v in found if all(v.code != d.code for d in derived))]


def _chosen(f: Findings, wanted: Callable[[ParameterGradient], bool]) -> tuple[str, ...]:
    return tuple(name for name, g in f.measurement.gradients.items() if wanted(g))


def _listed(found: tuple[str, ...]) -> str:
    return ", ".join(found[:4]) + ("…" if len(found) > 4 else "")


def _frozen(f: Findings) -> list[Verdict]:
    """A model in which nothing can be trained; with a loss of the caller's, training is what the model is for."""
    states = {g.state for g in f.measurement.gradients.values()} - {"unused"}
    if states != {"frozen"}:
        return []
    count = sum(g.state == "frozen" for g in f.measurement.gradients.values())
    trains = not f.drawn
    return [
        verdict(
            "frozen-model",
            "unhealthy" if trains else "note",
            f"None of the {count} parameters that were used takes a gradient.",
            measured=float(count),
            threshold=0.0,
            layers=tuple(f.measurement.gradients)[:12],
        )
    ]


def _unregistered(f: Findings) -> list[Verdict]:
    """Weights that take part, and that ``model.parameters()`` does not list."""
    found: dict[str, bool] = dict(f.meta.get("unregistered", {}))
    if not found:
        return []
    names, count = tuple(found), float(len(found))
    evidence = (
        f"{len(found)} tensors that take a gradient make the output, and model.parameters() does not list them: "
        f"{_listed(names)}."
    )
    # a tensor that is no parameter may be given to an optimiser by hand
    severity: Severity = "unhealthy" if any(found.values()) else "warning"
    return [
        verdict(
            "unregistered-parameters", severity, evidence, measured=count, threshold=0.0, layers=names[:12]
        )
    ]


def _non_finite(f: Findings) -> list[Verdict]:
    found = _chosen(f, lambda g: g.state == "non-finite")
    rows = f.profile
    broken = np.isposinf(rows["log_grad"])
    if not found and not broken.any():
        return []
    count = max(len(found), int(broken.sum()))
    what = (
        f"{len(found)} parameters got a gradient with NaN or infinite entries: {_listed(found)}"
        if found
        else f"{count} of {len(rows)} rows received an infinite gradient"
    )
    loss = f.meta.get("loss_value")
    finite = loss is not None and np.isfinite(loss)
    evidence = what + (", though the loss is finite." if finite else ".")
    layers = found or names(rows, broken)
    return [
        verdict(
            "non-finite-gradients",
            "unhealthy",
            evidence,
            measured=float(count),
            threshold=0.0,
            layers=layers[:12],
        )
    ]


def _stuck(g: ParameterGradient) -> bool:
    return g.state in ("zero", "absent")


def _all_zero(f: Findings) -> list[Verdict]:
    """Every parameter at rest, for no cause that has a name of its own."""
    trained = {n: g for n, g in f.measurement.gradients.items() if g.state not in ("frozen", "unused")}
    if not trained or not all(_stuck(g) for g in trained.values()):
        return []
    if any(_CAUSES.get(g.cause, ("",))[0] not in ("", "zero-gradients") for g in trained.values()):
        return []
    if any(g.cause == "flat" for g in trained.values()):
        return []
    found = tuple(trained)
    evidence = f"All {len(found)} parameters got a gradient of exactly zero, or none."
    count, specific = float(len(found)), {}
    if f.meta.get("loss_value") == 0.0:
        evidence += " The loss is exactly zero."
        specific = {
            "cause": "a loss with a margin or a threshold that this whole batch is beyond, or one that is cut to zero",
            "remedy": "take harder samples or a larger margin; check the signs and the scale of what is compared",
        }
    return [
        verdict(
            "constant-loss",
            "unhealthy",
            evidence,
            measured=count,
            threshold=0.0,
            layers=found[:12],
            **specific,
        )
    ]


def _without_gradient(f: Findings) -> list[Verdict]:
    """Exact zeros, and gradients that are only rounding; of one code the gravest finding is kept."""
    zero = _zero(f)
    rounded = [] if any(v.severity != "note" for v in zero) else _rounded(f)
    return [*rounded, *(v for v in zero if not rounded or v.code != rounded[0].code)]


def _zero(f: Findings) -> list[Verdict]:
    """One verdict for every cause of exact zeros; biases are named only beside other parameters."""
    groups: dict[str, list[str]] = {}
    # a branch that the model keeps switched off, as the symbolic one of a Kolmogorov–Arnold network
    off = {n.rpartition(".")[0] for n, g in f.measurement.gradients.items() if g.state == "frozen" and g.zero}
    for name, g in f.measurement.gradients.items():
        if g.state == "zero" and not (g.bias and g.cause in ("", "constant")):
            masked = g.cause == "constant" and name.rpartition(".")[0] in off
            groups.setdefault("masked" if masked else g.cause, []).append(name)
    found: dict[str, Verdict] = {}
    for cause, members in groups.items():
        code, severity, why = _CAUSES.get(
            cause, ("zero-gradients", "unhealthy", f"the step {cause} lets nothing through" if cause else "")
        )
        if cause not in _CAUSES and _share(f, members) < MANY:
            severity = "warning"
        # a path that this pass has dropped holds a part of the model, not nearly all of it
        if cause == "constant" and _share(f, members) > NEARLY_ALL:
            severity = "unhealthy"
        many = "s" if len(members) > 1 else ""
        evidence = f"{len(members)} parameter{many} got a gradient of exactly zero"
        evidence += f" ({why})" if why else ""
        evidence += f": {_listed(tuple(members))}."
        new = verdict(
            code,
            severity,
            evidence,
            measured=float(len(members)),
            threshold=0.0,
            layers=tuple(members[:12]),
        )
        old = found.get(code)
        # of one code the gravest finding is kept
        if old is None or _GRAVITY[new.severity] < _GRAVITY[old.severity]:
            found[code] = new
    return list(found.values())


def _rounded(f: Findings) -> list[Verdict]:
    """Weights whose gradient is the rounding of sums that cancel, as where one expert gets a share of 1 of itself."""
    if str(f.meta.get("dtype", "")) != "float32":
        return []
    rows = f.weights
    with np.errstate(invalid="ignore"):
        relative = rows["log_weight_grad"] - log_weight_norm(rows)
    known = np.isfinite(relative)
    if known.sum() < 4:
        return []
    middle = float(np.median(relative[known]))
    lost = known & (relative < middle + math.log(ROUNDING))
    # where many are so small, or where the others come near them, gradients vanish gradually; another rule reports
    # that
    near = relative[lost].max(initial=-math.inf) + APART > relative[known & ~lost].min(initial=math.inf)
    if not lost.any() or lost.sum() * 4 > known.sum() or near:
        return []
    least = math.exp(float(relative[lost].min()) - middle)
    behind = [f.next_rows(row, "weight") for row in f.at("weight")[lost].tolist()]
    shrunk = all(any(row in f.small for row in below) for below in behind)
    why = (
        "layers on a small scale stand behind them" if shrunk else "which is the rounding of sums that cancel"
    )
    evidence = (
        f"The gradients of {int(lost.sum())} weights are {number(least)} of those of the others beside their weights, "
        f"{why}: {_listed(names(rows, lost))}."
    )
    layers = names(rows, lost)
    return [verdict("zero-gradients", "warning", evidence, measured=least, threshold=ROUNDING, layers=layers)]


def _share(f: Findings, members: list[str]) -> float:
    """Share of the entries that are trained which these parameters hold."""
    trained = {
        n: g.entries for n, g in f.measurement.gradients.items() if g.state not in ("frozen", "unused")
    }
    return sum(trained[name] for name in members) / max(sum(trained.values()), 1)


_GRAVITY = {"unhealthy": 0, "warning": 1, "note": 2}


def _cut(f: Findings) -> list[Verdict]:
    own = not f.drawn
    causes = ("cut", "index", "number") if own else ("cut", "index")
    found = _chosen(f, lambda g: g.state == "absent" and g.cause in causes and not g.bias)
    codes = _chosen(f, lambda g: g.state == "absent" and g.cause == "code")
    if not found and not codes:
        return _left_out(f)
    severity: Severity = "unhealthy" if found else "warning"
    evidence = (
        f"{len(found or codes)} parameters take part in what reaches the loss, and got no gradient: "
        f"{_listed(found or codes)}."
    )
    if not found:
        evidence += " A table of codes behind a straight-through step needs a loss of its own."
    whole = {}
    if found and all(f.measurement.gradients[name].cause == "index" for name in found):
        evidence += " What they make is turned into integers, which choose what goes on."
        whole = {"cause": _CHOICE, "remedy": _CHOSEN_BY}
    if found and all(f.measurement.gradients[name].cause == "number" for name in found):
        evidence = (
            f"{len(found)} parameters take part and got no gradient, since what they make becomes Python numbers: "
            f"{_listed(found)}."
        )
    count, layers = float(len(found or codes)), (found or codes)[:12]
    return [
        verdict("cut-gradients", severity, evidence, measured=count, threshold=0.0, layers=layers, **whole)
    ]


def _left_out(f: Findings) -> list[Verdict]:
    """Parameters whose result is returned, and that the caller's loss does not use."""
    found = _chosen(f, lambda g: g.state == "absent" and g.cause == "loss" and not g.bias)
    if not found or derivative_verdicts(f):
        return []
    evidence = (
        f"{len(found)} parameters make something that the model returns and the loss does not use, and got no "
        f"gradient: {_listed(found)}."
    )
    return [
        verdict(
            "cut-gradients",
            "warning",
            evidence,
            measured=float(len(found)),
            threshold=0.0,
            layers=found[:12],
            cause="a part of the output that the loss leaves out, or that it reads behind detach()",
            remedy="add the term of the loss that trains these parameters, or leave them out of the model",
        )
    ]


_CHOICE = (
    "argmax, topk, a drawn sample or another choice has no slope: a gradient reaches what was chosen alone"
)
_CHOSEN_BY = (
    "multiply what was chosen by the score or the probability of the choice, use a straight-through or Gumbel softmax, "
    "or give the chooser a loss of its own (REINFORCE: the log-probability of the choice)"
)


def _one_entry(f: Findings) -> list[Verdict]:
    """Normalisers whose groups are so small that nothing of the input is left."""
    rows = f.norms
    # it is not known what a module of an unknown kind takes out of its groups
    known = np.isin(rows["op"].astype(str), KNOWN)
    few = (f.extra(rows, "norm_left") <= 0) & known
    batch = rows["op"] == "batch_norm"
    if not few.any():
        return []
    # the number of entries of a batch norm is the audit's, and perhaps not the training's
    own = few & ~batch
    found = own if own.any() else few
    evidence = (
        f"{int(found.sum())} of {len(rows)} normalisers have groups so small that nothing is left once their mean "
        f"and scale are taken out: {_listed(names(rows, found))}."
    )
    if not own.any():
        evidence += " These groups are the samples of this batch: audit with the batch that training uses."
    # a branch that learns nothing, as a gate that sees one channel, leaves the other ways as they are
    around = _behind(f, f.at("norm")[found]) < MANY
    if own.any() and around:
        evidence += " The input has another way to the output."
    return [
        verdict(
            "one-entry-norm",
            "unhealthy" if own.any() and not around else "warning",
            evidence,
            measured=max(float(f.extra(rows, "norm_left")[found].min()), 0.0),
            threshold=0.0,
            layers=names(rows, found),
        )
    ]


def _behind(f: Findings, closed: np.ndarray) -> float:
    """The share of the weights' entries that reach the end through closed rows alone; 1 where the input does."""
    links, shut = f.measurement.links, set(closed.tolist())
    open_rows = [row for row in range(len(links)) if not f.feeds[row] and row not in shut]
    seen = set(open_rows)
    while open_rows:
        new = {source for source in links[open_rows.pop()] if source not in shut} - seen
        seen |= new
        open_rows += new
    if not seen.intersection(f.at("input", "embedding").tolist()):
        return 1.0
    entries = weight_entries(f.weights)
    kept = np.isin(f.at("weight"), list(seen))
    return float(entries[~kept].sum() / entries.sum()) if len(entries) else 0.0


def _zero_gains(f: Findings) -> list[Verdict]:
    """Gains of zero that are not at the end of a residual branch."""
    rows = f.norms
    # a module may store a gain as its distance from 1: the criterion is that nothing comes out
    silent = (rows["q"] == 0.0) | (rows["channel_var"] == 0.0)
    zero = (f.extra(rows, "gamma_square") == 0.0) & silent
    bad = zero & np.array([not f.joins(i) for i in f.at("norm").tolist()], bool)
    if bad.sum() < 2:
        return []
    evidence = (
        f"The gains of {int(bad.sum())} of {len(rows)} normalisers are zero, and no stream passes them by."
    )
    return [
        verdict(
            "zero-gains",
            "unhealthy",
            evidence,
            measured=float(bad.sum()),
            threshold=1.0,
            layers=names(rows, bad),
        )
    ]
