"""Rules about gradients over the depth: exploding, vanishing, by batch norm or by chance; for which optimiser."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from firstlight import activations, gauss
from firstlight.diagnosis.catalogue import verdict
from firstlight.diagnosis.findings import DEEP, MIXES, Findings, factor, names, number
from firstlight.diagnosis.rules._paths import (
    FORGIVEN as ONLY_FOR_ADAM,
)
from firstlight.diagnosis.rules._paths import (
    SLIGHT,
    STARVED,
    Path,
    Quantity,
    dropped,
    paths,
    starved,
)
from firstlight.diagnosis.trend import Trend
from firstlight.diagnosis.verdict import Severity, Verdict

# On the change over the depth. Growth of ∂L/∂z towards the input is a matter of stability for every optimiser. An
# adaptive optimiser divides each gradient by its own size. A gradient that has only become small does no harm then,
# until information is lost too. Plain gradient descent compensates for neither. Behind a normaliser the scale of a
# weight changes nothing: a large gradient makes the weight grow, and a larger weight makes smaller steps. One decade
# is therefore allowed (published networks of 30 batch-normed layers show two).
UNHEALTHY, WARNING = math.log(100.0), math.log(10.0)
# measured: plain networks of torch's default start on digits, 250 steps of Adam, reach a loss of .1 with 4.3 decades
# (8 layers of SiLU or GELU) and stay above .5 with 4.6 (12 layers of ReLU); none of them moves by gradient descent
FORGIVEN = math.log(10.0**4.5)
# Standard deviation of ln ‖∂L/∂z‖ over draws of the weights, summed over the depth: a factor of two. Measured (study
# of verdicts, training half, chains of 21 to 68 layers with a normaliser of each sample): all fifteen starts above
# fail with Adam, ten of twelve by gradient descent; the six below .6 train by both.
WALKED = math.log(2.0)
# A normal law's deviation from its median deviation.
_ROBUST = 1.4826
# growth of ∂L/∂z in a stream of three to ten residual sums. Measured (the blocks of residual growth): 2.2 and 2.8
# decades end at .06 and .37 by gradient descent and at .00 and .04 by Adam; with 3.4 gradient descent diverges at every
# rate. A transformer of fifteen layers (study of verdicts) fails with less than 3.
STREAM, FEW_SUMS = math.log(1e3), range(3, 11)
TORCH_DEFAULT = 1.0 / math.sqrt(3.0)
FEW = (
    " A quarter of the batch norms see eight entries or fewer on this batch, which alone distorts gradients: audit "
    "with the batch that training uses."
)
LEAVES = " The chain is short and all its weights are small: a usual rate makes them grow in time."
_GRAVITY: dict[Severity, int] = {"unhealthy": 3, "warning": 2, "note": 1, "healthy": 0}
OPTIMISERS = {"sgd": "plain gradient descent", "adam": "adaptive optimisers such as Adam"}


def holds_for(held: Sequence[str], others: str = "") -> str:
    """A sentence that says for which optimiser a verdict holds, and what adaptive optimisers do otherwise.

    Examples
    --------
    >>> holds_for(["sgd"], "forgive it")
    ' The verdict holds for plain gradient descent; adaptive optimisers such as Adam forgive it.'
    >>> holds_for(["adam"])
    ' The verdict holds for adaptive optimisers such as Adam.'
    """
    rest = f"; {OPTIMISERS['adam']} {others}" if others and "adam" not in held else ""
    return f" The verdict holds for {OPTIMISERS[held[0]]}{rest}."


def gradient_verdicts(f: Findings) -> list[Verdict]:
    """Exploding or vanishing gradients, along the depth and along each role, named by their cause."""
    found: dict[str, Verdict] = {}
    candidates = [_overall(f), *(_along(f, path) for path in paths(f)), _dropped(f)]
    for new in candidates:
        if new is None:
            continue
        old = found.get(new.code)
        # where both are equally grave, the evidence is about the whole depth and not about a part of it
        whole = old is not None and old is candidates[0]
        if old is None or (_gravity(new) > _gravity(old) if whole else _rank(new) > _rank(old)):
            found[new.code] = new
    grown = "batch-norm-explosion" in found
    kept = [v for v in found.values() if not (grown and v.code == "exploding-gradients")]
    return [*kept, *_starved(f)]


def _starved(f: Findings) -> list[Verdict]:
    """A path that a constant keeps out of the sum, the product or the concatenation that it goes into."""
    path = starved(f)
    if path is None:
        return []
    graver = ONLY_FOR_ADAM if f.optimiser == "adam" else STARVED
    severity: Severity = "unhealthy" if path.less > graver else "warning"
    whom = ""
    if f.optimiser is None and severity == "unhealthy" and path.less <= ONLY_FOR_ADAM:
        whom = holds_for(["sgd"], "partly make up for it")
    named = tuple(f.names[row] for row in path.rows)
    evidence = (
        f"Where {named[-1]} meets {f.names[path.strongest]}, at {f.names[path.meeting]}, the path of {named[-1]} has "
        f"{number(math.exp(-path.less), 2)} of the other's part in the loss, and so much less ∂L/∂W beside its weight, "
        f"though no learned factor stands between.{whom}"
    )
    return [
        verdict(
            "starved-path",
            severity,
            evidence,
            measured=path.less / math.log(10.0),
            threshold=(graver if severity == "unhealthy" else SLIGHT) / math.log(10.0),
            layers=named,
        )
    ]


def _gravity(v: Verdict) -> int:
    return _GRAVITY[v.severity]


def _rank(v: Verdict) -> tuple[int, float]:
    return _gravity(v), v.measured or 0.0


def judged(
    f: Findings, change: float, quantity: Quantity, *, normalised: bool = False
) -> tuple[Severity, float, str]:
    """Severity, line and whom it holds for, of a change of a logarithm towards the output."""
    size, grows = abs(change), change < 0
    lines: dict[str, tuple[float, float]] = {"sgd": (WARNING, UNHEALTHY)}
    if quantity == "∂L/∂W":
        lines["adam"] = (UNHEALTHY, math.inf)
    else:
        lines["adam"] = (WARNING, UNHEALTHY) if grows else (UNHEALTHY, FORGIVEN)
    if grows and quantity == "∂L/∂z" and len(f.at("residual")) in FEW_SUMS:
        lines = {name: (low, max(high, STREAM)) for name, (low, high) in lines.items()}
    if not grows and f.leaves:
        lines = dict.fromkeys(lines, (WARNING, math.inf))
    if normalised:
        more = WARNING if quantity == "∂L/∂z" else UNHEALTHY
        lines = {name: (low + more, high + more) for name, (low, high) in lines.items()}
    asked = [f.optimiser] if f.optimiser else list(lines)
    each: dict[str, Severity] = {
        name: "unhealthy" if size > lines[name][1] else "warning" if size > lines[name][0] else "note"
        for name in asked
    }
    worst = max(each.values(), key=_GRAVITY.__getitem__)
    held = [name for name in asked if each[name] == worst]
    line = min(lines[name][1 if worst == "unhealthy" else 0] for name in held)
    if not grows and f.leaves:
        return worst, line, LEAVES
    if len(held) == len(lines):
        return worst, line, ""
    return worst, line, holds_for(held, "forgive it" if "adam" in asked else "")


def _overall(f: Findings) -> Verdict | None:
    trend = f.gradient
    if trend is None or not trend.beyond(WARNING) or not _ends_agree(f, trend):
        return None
    # what the early calls of one layer get is a matter of time: the weight gets the sum over its calls
    again = sum("#" in str(name) for name in f.weights["name"])
    if trend.slope > 0 and again * 2 > len(f.weights):
        return None
    by_norm = trend.slope < 0 and f.batch_normed
    severity, line, whom = judged(f, trend.total, "∂L/∂z", normalised=by_norm)
    code = "exploding-gradients" if trend.slope < 0 else "vanishing-gradients"
    if severity == "note":
        return None
    evidence, specific = _evidence(f, trend), _specific(f, trend)
    if by_norm and not f.residual:
        code, specific = "batch-norm-explosion", {}
        evidence += _mean_field(f)
    if by_norm and f.few_normed and severity == "unhealthy":
        severity, line = "warning", WARNING + WARNING
        evidence += FEW
    order = f.log_gradient_norms if trend.slope < 0 else -f.log_gradient_norms
    return verdict(
        code,
        severity,
        evidence + whom,
        measured=abs(trend.total) / math.log(10.0),
        uncertainty=trend.total_se / math.log(10.0),
        threshold=line / math.log(10.0),
        layers=names(f.weights, np.isfinite(order), order, limit=3),
        **specific,
    )


def _ends_agree(f: Findings, trend: Trend) -> bool:
    """Whether the first and the last third of the rows differ by at least half of what the line says. If several
    paths have different gradients, a line may rise although every path falls.
    """
    known = np.isfinite(f.log_gradient_norms)
    order = np.argsort(f.weights["depth"][known], kind="stable")
    y = f.log_gradient_norms[known][order]
    third = max(len(y) // 3, 1)
    apart = float(np.median(y[-third:]) - np.median(y[:third]))
    same = apart * trend.total > 0 and float(y[-1] - y[0]) * trend.total > 0
    return same and abs(apart) > abs(trend.total) / 3.0


def _along(f: Findings, path: Path) -> Verdict | None:
    """The worst of a role: its trend, or its worst stretch."""
    trend = path.trend
    fitted = trend.total if trend is not None and trend.beyond(WARNING) else 0.0
    change = path.change if abs(path.change) > abs(fitted) else fitted
    if abs(change) <= WARNING:
        return None
    start, end = path.stretch if change != fitted else (0, len(path.names) - 1)
    if change > 0 and path.quantity == "∂L/∂z" and f.residual:
        return None  # the stream carries the gradient past the branches: for the branches only ∂L/∂W counts
    if change < 0 and path.quantity == "∂L/∂z" and math.isfinite(path.sensitivity[start]):
        # rows in the middle may have smaller gradients than both ends: stability is about what the rows do to the
        # outputs
        change = -min(-change, path.sensitivity[start])
    # what stands beside a trunk of batch norms, as the gates of squeeze-and-excitation, gets the trunk's gradients
    severity, line, whom = judged(
        f, change, path.quantity, normalised=path.normalised or (f.batch_normed and path.quantity == "∂L/∂W")
    )
    if severity == "note":
        return None
    few = f.few_normed and severity == "unhealthy"
    if few:
        severity, line = "warning", WARNING
    down = "grows" if change < 0 else "falls"
    what = (
        "norm of ∂L/∂z (stability)"
        if path.quantity == "∂L/∂z"
        else "size of ∂L/∂W relative to the weight (what one learning rate meets)"
    )
    evidence = (
        f"Along {path.role} the {what} {down} towards the input by a factor {factor(abs(change))}, between "
        f"{path.names[end]} and {path.names[start]}.{whom}{FEW if few else ''}"
    )
    return verdict(
        "exploding-gradients" if change < 0 else "vanishing-gradients",
        severity,
        evidence,
        measured=abs(change) / math.log(10.0),
        threshold=line / math.log(10.0),
        unit=f"decades of {path.quantity} along the role",
        layers=path.names[:3],
        **(_specific(f, trend) if trend is not None and trend.total * change > 0 else {}),
    )


def _dropped(f: Findings) -> Verdict | None:
    """One step of a chain that hands on hardly anything of the gradient, in a network of any depth."""
    found = dropped(f)
    if found is None:
        return None
    above, below, fall = found
    return verdict(
        "vanishing-gradients",
        "unhealthy",
        f"From {f.names[below]} to {f.names[above]}, one layer towards the input, ‖∂L/∂z‖ ‖z‖ falls by a factor "
        f"{factor(fall)}, though no small weight stands between.",
        measured=fall / math.log(10.0),
        threshold=ONLY_FOR_ADAM / math.log(10.0),
        unit="decades at one step",
        layers=(f.names[above],),
        cause="a step with hardly any slope, or with a backward of its own that makes the gradient small",
        remedy="look at what stands between these two layers: a custom backward, a hook, a saturated function",
    )


def _evidence(f: Findings, trend: Trend) -> str:
    rate = math.exp(-trend.slope)
    ends = f.log_gradient_norms[np.isfinite(f.log_gradient_norms)]
    text = (
        f"The gradient norm changes by a factor {number(rate)} ± {number(rate * trend.se, 2)} per layer towards the "
        f"input (squared: {number(rate**2)}), a factor 10 every {number(trend.decade)} layers: the first layer's "
        f"is {factor(float(ends[0] - ends[-1]))} times the last one's, {trend.span:.0f} layers on."
    )
    if f.rescaled.any():
        text += (
            " Where a normaliser rescales a layer, the gradient is counted times the root mean square of z."
        )
    if math.isfinite(f.theory_growth):
        text += f" Gaussian theory from the measured moments: {number(math.exp(f.theory_growth))} squared per layer."
    return text


def _mean_field(f: Findings) -> str:
    """The rate of Yang et al. 2019 in wide networks and large batches, where one known activation is used."""
    used = {str(op) for op in f.profile.select("activation")["op"]}
    if len(used) != 1 or not used <= set(activations.names()):
        return ""
    phi = activations.get(name := used.pop())
    mean, square, slope = (
        float(gauss.expect(function, 0.0, 1.0, kinks=phi.kinks))
        for function in (phi, lambda t: phi(t) ** 2, lambda t: phi.derivative(t) ** 2)
    )
    formula = "π/(π−1)" if name == "relu" else "E φ'²/Var φ"
    rate = slope / (square - mean**2)
    return f" Mean field for {name}, wide networks and large batches: {formula} = {rate:.3f} (squared, per layer)."


def _specific(f: Findings, trend: Trend) -> dict[str, str]:
    """Cause and remedy in numbers, where the slope χ₁ at the measured q explains the trend."""
    chi = f.weights["chi"]
    chi = chi[np.isfinite(chi) & (chi > 0)]
    if not len(chi):
        return {}
    mean = float(np.log(chi).mean())
    if (mean > 0) != (trend.slope < 0):
        return {}
    sigma = float(np.nanmedian(f.weights["sigma_w"]))
    size = "large" if mean > 0 else "small"
    default = "; 0.577 is torch's default" if abs(sigma - TORCH_DEFAULT) < 0.03 else ""
    return {
        "cause": (
            f"χ₁ = σ_w² E φ'(z)² is {number(math.exp(mean))} at the measured q, and every layer multiplies the "
            f"squared gradient by it: the weights are too {size} for the activation (median "
            f"σ_w = {number(sigma)}{default})"
        ),
        "remedy": (
            f"bring χ₁ to 1: at these q scale the weights by about {number(math.exp(-mean / 2))}, or choose "
            "(σ_w, σ_b) on the edge of chaos of the activation (He, σ_w = √2, for ReLU); q moves with the "
            "scale, so audit again"
        ),
    }


def walk_verdicts(f: Findings) -> list[Verdict]:
    """The random walk of the log gradient norm along a chain without skips.

    Each independent matrix multiplies the norm by a random factor of variance about 1/width; orthogonal weights, which
    keep every direction, leave the activation's part alone.
    """
    index = _chain(f)
    if len(index) <= DEEP:
        return []
    logs = f.log_norms[index]
    known = np.isfinite(logs)
    steps = np.diff(logs[known])
    if len(steps) < DEEP:
        return []
    # by medians: one faulty layer is no walk
    step = _ROBUST * float(np.median(np.abs(steps - np.median(steps))))
    walk = step * math.sqrt(len(steps))
    if walk <= WALKED:
        return []
    severity: Severity = "unhealthy" if f.deep_normed else "warning"
    units = f.profile["units"][index]
    ratio = float(np.nansum(1.0 / np.maximum(units, 1.0)))
    evidence = (
        f"ln of the gradient norm steps by ±{number(step, 2)} from layer to layer, by chance, and walks "
        f"±{number(walk, 2)} over {len(steps)} layers: another draw of the weights gives a norm "
        f"{factor(walk)} times larger or smaller. "
        f"Depth over width, Σ 1/n, is {number(ratio, 2)}."
    )
    return [
        verdict(
            "depth-over-width",
            severity,
            evidence,
            measured=walk,
            # the median deviation of n normal values has 1.17 times their deviation over √n as its error
            uncertainty=1.17 * walk / math.sqrt(len(steps)),
            threshold=WALKED,
            layers=names(f.rows(index), known, logs, 3),
        )
    ]


def _chain(f: Findings) -> np.ndarray:
    """The weight rows in front of the readout, if each is read by the next one and by nothing else; else none."""
    index = f.at("weight")[: 0 if f.loops else None]
    index = index[~f.readout[index]]
    ends = ("residual", *MIXES)
    linked = all(f.next_rows(a, *ends) == [b] for a, b in pairwise(index.tolist()))
    return index if linked else index[:0]
