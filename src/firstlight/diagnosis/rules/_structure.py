"""Rules about parameters and inputs: never initialised, constant, cloned, unused, unnormalised data."""

from __future__ import annotations

import math

import numpy as np

from firstlight.diagnosis._loops import reached
from firstlight.diagnosis.catalogue import verdict
from firstlight.diagnosis.findings import MIXES, Findings, names, number
from firstlight.diagnosis.rules._gradients import holds_for
from firstlight.diagnosis.verdict import Severity, Verdict

_FLAGS: dict[str, tuple[str, Severity]] = {
    "meta": ("never-initialised", "unhealthy"),
    "non-finite": ("non-finite-weights", "unhealthy"),
    "cloned": ("cloned-units", "unhealthy"),
    "constant": ("constant-weights", "unhealthy"),
    "zero": ("zero-weights", "warning"),
}
# Root mean squares of the input outside [0.1, 10] are no longer of order one; past 30, tanh is saturated.
SMALL, LARGE, GRAVE = 1e-2, 1e2, 1e3
# Linear steps without a row.
STRAIGHT = frozenset(
    "cat concat stack mean sum avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d "
    "adaptive_avg_pool2d adaptive_avg_pool3d pad cumsum add sub interpolate pixel_shuffle unfold fold".split()
)
# Squared norm of what a first layer reads from which its scale is that of unit vectors.
NORM = 0.1
# Activations that hand a large scale on.
UNBOUNDED = (
    "relu",
    "leaky_relu",
    "leakyrelu",
    "prelu",
    "gelu",
    "silu",
    "swish",
    "elu",
    "mish",
    "hardswish",
    "softplus",
)
# Difference of the logarithms of two gradient norms that is rounding.
SAME = 1e-5
# Ratio between the deviations of the columns; its square is about the condition number of a regression on them.
COLUMNS, COLUMNS_GRAVE = 1e2, 1e3
# Norm of the columns' means over that of their deviations, with no batch norm right behind the first layer. Measured
# (digits, three layers of tanh or ReLU, with and without layer norm, best of five rates, 200 steps; a guess has 2.3):
# plain gradient descent ends at .3 to .7 with a mean of 3 deviations, at 1.0 to 1.3 with 5, at 2.0 with 10; Adam at .2
# to .3 with 5, at .3 to 1.2 with 10, at 1.1 to 2.3 with 27. Without the mean all of them end below .07.
OFFSET = {"gradient descent": (5.0, 10.0), "adaptive optimisers": (10.0, 20.0)}


def structure_verdicts(f: Findings) -> list[Verdict]:
    """The verdicts about parameters and inputs that need no theory."""
    return [
        *_flags(f),
        *_copies(f),
        *_shared(f),
        *_linear(f),
        *_mixed(f),
        *_unused(f),
        *_input_scale(f),
        *_same_inputs(f),
    ]


def _flags(f: Findings) -> list[Verdict]:
    found = []
    flags = [str(text).split(", ") for text in f.profile["weight_flags"]]
    total = int((f.profile["kind"] == "weight").sum())
    for flag, (code, severity) in _FLAGS.items():
        mask = np.array([flag in row for row in flags], bool)
        if not mask.any():
            continue
        chosen, evidence = severity, f"{int(mask.sum())} of {total} weights are {flag}."
        if flag == "zero" and not any(f.stops(int(row)) for row in np.flatnonzero(mask)):
            chosen = "note"
        if flag == "constant" and all("parting" in row for row in flags if flag in row):
            chosen = "warning"
            evidence = evidence[:-1] + "; their units get different gradients, so the first step parts them."
        layers = names(f.profile, mask)
        found.append(
            verdict(code, chosen, evidence, measured=float(mask.sum()), threshold=0.0, layers=layers)
        )
    return found


def _unused(f: Findings) -> list[Verdict]:
    unused = tuple(f.meta.get("unused", ()))
    if not unused:
        return []
    evidence = f"{len(unused)} parameters were not read in this forward: {', '.join(unused[:4])}"
    evidence += "…" if len(unused) > 4 else "."
    count = float(len(unused))
    return [verdict("unused-parameters", "note", evidence, measured=count, threshold=0.0, layers=unused[:12])]


def _copies(f: Findings) -> list[Verdict]:
    """Parameters that start as copies of others, as where one layer is copied to make a stack."""
    groups = [tuple(group) for group in f.meta.get("copies", ())]
    if not groups:
        return []
    equal = [group for group in groups if _alike(f, group)]
    groups = equal or groups
    count = sum(len(group) - 1 for group in groups)
    first = groups[0]
    evidence = (
        f"{count} parameters start as exact copies of others{', and get the same gradients' if equal else ''}, for "
        f"example {' = '.join(first[:3])}{' = …' if len(first) > 3 else ''}."
    )
    return [
        verdict(
            "copied-layers",
            "unhealthy" if equal else "warning",
            evidence,
            measured=float(count),
            threshold=0.0,
            layers=tuple(name for group in groups for name in group)[:12],
            **(_FOR_EVER if equal else {}),
        )
    ]


_FOR_EVER = {
    "why": "parameters that are equal and get equal gradients stay equal for ever: together they learn what one learns",
    "cause": "one layer or one network that was copied, with every copy used in the same way",
    "remedy": "draw the weights of every copy again, or give each copy data or outputs of its own",
}


def _alike(f: Findings, group: tuple[str, ...]) -> bool:
    """Whether copies get gradients of one norm, which no two of different places do by chance."""
    given = [f.measurement.gradients.get(name) for name in group]
    logs = [g.log_norm for g in given if g is not None and g.state == "finite"]
    return len(logs) == len(group) and max(logs) - min(logs) < SAME


def _shared(f: Findings) -> list[Verdict]:
    """One layer under several names that reads what it gave: a list that was multiplied, most likely."""
    found = []
    for paths in f.meta.get("shared", ()):
        rows = np.flatnonzero([str(n).split("#")[0] == paths[0] for n in f.profile["name"]])
        rows = rows[np.isin(rows, f.at("weight"))]
        if len(rows) > 1 and (np.diff(f.profile["depth"][rows]) > 0).all():
            found.append(tuple(paths))
    if not found:
        return []
    evidence = (
        f"{len(found)} layers stand in several places with one set of weights, for example {' = '.join(found[0][:3])}"
        f"{' = …' if len(found[0]) > 3 else ''}."
    )
    layers, count = tuple(name for group in found for name in group)[:12], float(len(found))
    return [verdict("shared-layers", "warning", evidence, measured=count, threshold=0.0, layers=layers)]


def _mixed(f: Findings) -> list[Verdict]:
    """Shapes that put one sample's numbers beside another's, and layers that take samples for steps of time."""
    found: dict[str, list[list[int]]] = dict(f.meta.get("mixed", {}))
    along: dict[str, tuple[list[int], int]] = dict(f.meta.get("along", {}))
    placed: dict[str, list[list[int]]] = dict(f.meta.get("placed", {}))
    if not found and not along and not placed:
        return []
    evidence = []
    if found:
        place, shapes = next(iter(found.items()))
        before, after = ("×".join(map(str, shape)) for shape in shapes)
        evidence.append(
            f"At {place} a tensor of shape {before} is written as {after}: the axis of the samples is not where the "
            "axis was, so numbers of different samples stand beside each other."
        )
    for place, (shape, axis) in list(along.items())[:1]:
        evidence.append(
            f"{place} reads a tensor of shape {'×'.join(map(str, shape))} along its {('first', 'second')[axis]} axis, "
            "which holds the samples: every sample is a step of time, or a token, of one sequence."
        )
    for place, shapes in list(placed.items())[:1]:
        tokens, rows = ("×".join(map(str, shape)) for shape in shapes)
        evidence.append(
            f"At {place or f.meta.get('model', 'the model')} rows of a table (shape {rows}) are added to tokens of "
            f"shape {tokens} along the first axis, which holds the samples: each sample gets a vector by its place in "
            "the batch, and all its tokens get the same one."
        )
    layers = tuple(dict.fromkeys([*found, *along, *placed]))
    count = float(len(layers))
    return [
        verdict(
            "mixed-samples",
            "unhealthy",
            " ".join(evidence),
            measured=count,
            threshold=0.0,
            layers=layers[:12],
            **({} if found else _READ_AS_TIME[next(iter(along.values()))[1]] if along else _PLACED),
        )
    ]


_PLACED = {
    "cause": "positions that are taken by the first axis, as for steps × samples × units, while samples come first",
    "remedy": "take positions by the axis of the tokens, such as table[:, :x.size(1)]",
}
_READ_AS_TIME = (
    {
        "cause": "torch's recurrent and attention layers expect time first: steps × samples × features",
        "remedy": "build the layer with batch_first=True, or exchange the first two axes with transpose(0, 1)",
    },
    {
        "cause": "the layer was built with batch_first=True and is given time first: steps × samples × features",
        "remedy": "build the layer with batch_first=False, or exchange the first two axes with transpose(0, 1)",
    },
)


def _linear(f: Findings) -> list[Verdict]:
    """Layers in a row with no nonlinear step between them: together they are one linear map."""
    kinds = set(f.kinds)
    bends = kinds - {"input", "weight", "residual", "affine", "norm", "embedding"}
    bends |= {op for op in f.norms["op"] if op != "batch_norm"} | set(f.meta.get("steps", ())) - STRAIGHT
    # an activation with a slope of its own, such as PReLU, is a row of its parameter
    bends |= set(f.profile.select("affine")["op"].astype(str)) - STRAIGHT - {"mul", "div", "truediv"}
    rows = f.hidden()
    # a bottleneck is a factor of low rank, which is a choice
    wide = f.extra(rows, "units") >= rows["fan_in"]
    if bends or not wide.any() or not f.measurement.links:
        return []
    evidence = (
        f"No activation stands between the {len(f.weights)} layers, so together they are one linear map."
    )
    layers, count = names(rows, wide), float(len(f.weights))
    return [verdict("linear-network", "note", evidence, measured=count, threshold=1.0, layers=layers)]


def _input_scale(f: Findings) -> list[Verdict]:
    """The scale of what the first layers read, which a standardisation or a normaliser may have taken away."""
    first = f.first
    rows = f.rows(first)
    q, mean = f.read(first)
    spread = f.extra(rows, "read_spread")
    made = _made(f, first)
    # a step of the model's own that gives all columns together a norm of order one, as random features have
    meant = made & (q * rows["fan_in"] > NORM)
    bad = np.isfinite(q) & ((q > LARGE) | ((q < SMALL) & (q > 0) & ~meant)) & ~_absorbed(f, first)
    uneven = np.isfinite(spread) & (spread > COLUMNS)
    if not (bad & (q > GRAVE)).any() and (far := _far(f, first)):
        return far
    if not bad.any() and not uneven.any():
        return []
    if not bad.any():
        worst = int(np.argmax(np.where(uneven, spread, -np.inf)))
        ratio = float(spread[worst])
        evidence = f"Among the columns that {rows['name'][worst]} reads the deviations are {number(ratio)} times apart."
        grave = ratio > COLUMNS_GRAVE
        return [
            verdict(
                "input-scale",
                "unhealthy" if grave else "warning",
                evidence,
                measured=ratio,
                threshold=COLUMNS_GRAVE if grave else COLUMNS,
                unit="ratio between the deviations of the columns",
                layers=names(rows, uneven),
            )
        ]
    worst = int(np.argmax(np.where(bad, np.abs(np.log(np.maximum(q, 1e-300))), -np.inf)))
    value = float(q[worst])
    evidence = (
        f"What {rows['name'][worst]} reads has root mean square {number(math.sqrt(value))} and mean "
        f"{number(float(mean[worst]))}."
    )
    return [
        verdict(
            "input-scale",
            "unhealthy" if value > GRAVE else "warning",
            evidence,
            measured=math.sqrt(value),
            threshold=math.sqrt(GRAVE if value > GRAVE else LARGE if value > 1 else SMALL),
            layers=names(rows, bad),
            **(_OWN_STEP if made[worst] else {}),
        )
    ]


def _far(f: Findings, first: np.ndarray) -> list[Verdict]:
    """Columns whose mean lies many deviations from zero, which every unit of a first layer sees as one constant."""
    offset = np.where(_batch_normed(f, first) | f.one_sample, math.nan, f.extra(f.rows(first), "read_offset"))
    sources = f.measurement.links
    if sources:
        data = set(f.data.tolist())
        beside = [not any(s in data or f.kinds[s] != "input" for s in sources[row]) for row in first.tolist()]
        offset = np.where(beside, math.nan, offset)
    if not np.isfinite(offset).any():
        return []
    worst = int(np.nanargmax(offset))
    ratio = float(offset[worst])
    lines = OFFSET["adaptive optimisers" if f.optimiser == "adam" else "gradient descent"]
    if ratio <= lines[0]:
        return []
    grave = ratio > lines[1]
    name = f.rows(first)["name"][worst]
    evidence = (
        f"The means of the columns that {name} reads are {number(ratio)} times as large as their deviations (norms): "
        "they make one direction of the loss far steeper than all others, which bounds the rate for all."
    )
    if f.optimiser is None and grave and ratio <= OFFSET["adaptive optimisers"][1]:
        evidence += holds_for(["sgd"], "are only slowed down")
    return [
        verdict(
            "input-scale",
            "unhealthy" if grave else "warning",
            evidence,
            measured=ratio,
            threshold=lines[1] if grave else lines[0],
            unit="mean of the columns over their deviation",
            layers=names(f.rows(first), offset > lines[0]),
        )
    ]


def _batch_normed(f: Findings, rows: np.ndarray) -> np.ndarray:
    """Whether nothing but a batch norm that uses the batch reads a row."""
    ops = f.profile["op"]
    batch = np.array([all(ops[reader] == "batch_norm" for reader in f.feeds[row]) for row in rows], bool)
    return f.rescaled[rows] & batch


def _absorbed(f: Findings, rows: np.ndarray) -> np.ndarray:
    """Whether normalisers divide by the scale of a first layer before any other layer reads it.

    What stands in between hands a scale on. Measured: bytes in front of a convolution and a group norm, of a linear
    layer and a layer norm, of a convolution, ReLU and a layer norm, and of the patches of a pre-norm transformer train
    like standardised data. A mean that all samples share has a rule of its own.
    """
    own = np.isfinite(f.extra(f.profile, "norm_gain"))
    found = []
    for row in rows.tolist():
        readers = f.next_rows(row, "norm", *MIXES)
        between = set(f.next_rows(row, "activation", "norm", *MIXES)) - set(readers)
        plain = all(str(f.profile["op"][i]).lower().startswith(UNBOUNDED) for i in between)
        found.append(bool(readers) and plain and all(f.kinds[i] == "norm" and own[i] for i in readers))
    return np.array(found, bool)


def _made(f: Findings, rows: np.ndarray) -> np.ndarray:
    """Whether the data that a first layer reads are of order one before the model's own steps."""
    q, found = f.profile["q"], []
    for row in rows.tolist():
        above = reached(row, f.measurement.links) if f.measurement.links else ()
        data = [float(q[i]) for i in above if f.kinds[i] == "input"]
        found.append(bool(data) and all(SMALL <= value <= LARGE for value in data))
    return np.array(found, bool)


_OWN_STEP = {
    "cause": "the data have a scale of order one: a step of the model's own in front of the layer changes it",
    "remedy": "leave the factor out, or put a normaliser between the step and the layer",
}


def _same_inputs(f: Findings) -> list[Verdict]:
    """A verdict only if no input differs between samples: masks, positions and adjacency may be the same."""
    rows = f.rows(f.data)
    same = rows["correlation"] > 1.0 - 1e-6
    if not same.any() or not f.one_sample:
        return []
    evidence = f"The samples of {', '.join(names(rows, same))} are copies of one another up to scale."
    return [
        verdict(
            "same-inputs", "warning", evidence, measured=1.0, threshold=1.0 - 1e-6, layers=names(rows, same)
        )
    ]
