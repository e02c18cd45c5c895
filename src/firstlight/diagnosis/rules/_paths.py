"""Gradients along the roles of layers, by their worst stretch, and along the paths that meet in one place."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from firstlight.diagnosis._loops import reached
from firstlight.diagnosis.findings import USUAL, Findings, entries, log, product
from firstlight.diagnosis.trend import Trend, fit
from firstlight.profile import Profile

Quantity = Literal["∂L/∂z", "∂L/∂W"]
# A change in one step counts from here on; a smaller one must be the sum of steps of one sign.
JUMP = math.log(1e4)
# Ratio of σ_w to that of a role from which a first layer or a readout has a scale of its own.
OWN = math.log(4.0)
# The smallest number of rows of one role that makes a path.
SHORT = 4
# The share of a path in a place where paths meet, beside the largest there. Measured (two halves of the input that
# decide four classes, one path of one or three layers each, the second times a constant, sum or concatenation): from .1
# all learn; plain gradient descent learns the second half in two of four at .03, late or not at all at .01, never at
# .001; Adam in three of four at .01, in two at .001, in one at 10⁻⁶.
SLIGHT, STARVED, FORGIVEN = math.log(1e2), math.log(10**2.5), math.log(1e6)

# Rows between two layers of a chain.
LONG = 12
# Ln of the second moment of a gate that is closed, and of one that is open; of a sum over what it hands on.
OPENED, CARRIED = (math.log(1e-2), math.log(0.95)), 0.5


@dataclass(frozen=True)
class Path:
    """The logarithm of one quantity along the rows of one role, from the input to the output.

    Attributes
    ----------
    role
        The rows' common name, a star for each number.
    quantity
        ``"∂L/∂z"``: the norm; ``"∂L/∂W"``: the norm over that of the weight, ‖∂L/∂W‖ / ‖W‖, which a learning rate
        makes the share of the weight that one step changes. With ‖W‖ = σ_w √fan-out and independent places,
        ‖∂L/∂W‖ = ‖∂L/∂z‖ √fan-in: layers that widen from stage to stage and hand on the gradient's norm have one value.
    depth, values
        Where the rows stand, and the logarithms.
    names
        The rows.
    normalised
        Whether a normaliser reads most of the rows: the scale of such a weight changes nothing, and a large gradient
        only makes the weight grow and its steps smaller.
    sensitivity
        Ln ‖∂L/∂z‖ ‖z‖ of the rows over that of the outputs: what a relative change of a row does to the loss beside
        the same change of the outputs. NaN where there is no row of the outputs.
    """

    role: str
    quantity: Quantity
    depth: np.ndarray
    values: np.ndarray
    names: tuple[str, ...]
    normalised: bool = False
    sensitivity: tuple[float, ...] = ()

    @cached_property
    def steady(self) -> np.ndarray:
        """The values without single rows that lie apart from both neighbours, as one layer of zeros makes them."""
        y = self.values
        middle = np.median(np.stack([y[:-2], y[1:-1], y[2:]]), axis=0)
        return np.concatenate([y[:1], middle, y[-1:]])

    @cached_property
    def trend(self) -> Trend | None:
        """The straight line through the values."""
        return fit(self.depth, self.values)

    @cached_property
    def stretch(self) -> tuple[int, int]:
        """The two rows between which the values change most, the earlier first."""
        y = self.steady
        low, high = np.minimum.accumulate(y), np.maximum.accumulate(y)
        rise, fall = int(np.argmax(y - low)), int(np.argmax(high - y))
        end, up = (rise, True) if (y - low)[rise] >= (high - y)[fall] else (fall, False)
        start = int(np.argmin(y[: end + 1]) if up else np.argmax(y[: end + 1]))
        return start, end

    @property
    def change(self) -> float:
        """Change of the logarithm over the worst stretch, towards the output; 0 where chance may have made it."""
        start, end = self.stretch
        total = float(self.steady[end] - self.steady[start])
        if abs(total) > JUMP:
            return total
        steps = np.diff(self.steady[start : end + 1])
        if len(steps) < SHORT - 1:
            return 0.0
        error = float(steps.std(ddof=1)) * math.sqrt(len(steps))
        return total if abs(total) > 3.0 * error else 0.0


def role_of(name: str) -> str:
    """A row's name with its numbers left out; numbers at the end tell the layers of one block apart, and stay there.

    Examples
    --------
    >>> role_of("blocks.3.attn.qkv"), role_of("fc2"), role_of("cell#12"), role_of("layer1.0.conv2")
    ('blocks.*.attn.qkv', 'fc*', 'cell', 'layer*.*.conv2')
    """
    name = name.split("#")[0]
    before, dot, last = name.rpartition(".")
    if re.search(r"\d", before):
        return re.sub(r"\d+", "*", before) + dot + last
    return re.sub(r"\d+", "*", name)


def paths(f: Findings) -> list[Path]:
    """The path of each quantity along each role with rows enough, without the calls of one layer in a row.

    Queries and keys are left out. Their gradient has passed the slope of a softmax, which is small at a sound start.
    Below them the gradient only reaches the stream, and the stream has a path of its own.
    """
    rows, at = f.weights, f.at("weight").tolist()
    names = [str(n) for n in rows["name"]]
    members: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        if "#" not in name and not _chooses(f, at[i]):
            members.setdefault(role_of(name), []).append(i)
    z = f.log_gradient_norms
    felt = f.sensitivity[at]
    with np.errstate(invalid="ignore"):
        w = rows["log_weight_grad"] - log_weight_norm(rows) + f.held_back
    # a small layer counts as it was when it has grown: its gradient is the usual one, and its ratio is not
    grown = np.isin(at, f.small) if f.held_back.any() else np.zeros(len(at), bool)
    if grown.any():
        usual = USUAL if f.grows else min(USUAL, float(np.median(rows["sigma_w"])))
        w[grown] += np.log(rows["sigma_w"][grown] / usual)
    found = []
    quantities: tuple[tuple[Quantity, np.ndarray], ...] = (("∂L/∂z", z), ("∂L/∂W", w))
    for role, index in members.items():
        for quantity, values in quantities:
            kept = [i for i in index if np.isfinite(values[i])]
            if quantity == "∂L/∂W":
                kept = _of_one_scale(f, kept)
            if len(kept) >= SHORT and len(set(rows["depth"][kept])) == len(kept):
                kept.sort(key=lambda i: rows["depth"][i])
                normed = sum(f.into_norm(at[i]) for i in kept) * 2 > len(kept)
                place, named = rows["depth"][kept], tuple(names[i] for i in kept)
                path = Path(role, quantity, place, values[kept], named, normed, tuple(felt[kept].tolist()))
                found.append(path)
    return found


def _of_one_scale(f: Findings, index: list[int]) -> list[int]:
    """A role without first layers and readouts that have a scale of their own.

    In such layers a start makes signals small and then large again. Measured on digits, 30 nearly linear layers of
    this kind train by Adam and by plain gradient descent (rate .003 for tanh, .001 for GELU: loss .11 and .09 after
    150 steps). The ratio of ∂L/∂W to the weight differs by 10⁴ from the first to the last layer there.
    """
    sigma, at = f.weights["sigma_w"], f.at("weight")
    middle = float(np.median(sigma[index])) if index else math.nan
    ends = set(f.first.tolist()) | {row for row in at.tolist() if f.readout[row]}
    if not middle > 0:
        return index
    return [
        i for i in index if at[i] not in ends or not (sigma[i] > 0 and abs(math.log(sigma[i] / middle)) > OWN)
    ]


def _chooses(f: Findings, row: int) -> bool:
    """Whether a row is read by attention alone, as its queries or keys."""
    readers = f.feeds[row] if f.feeds else ()
    if not readers or any(f.kinds[reader] != "attention" for reader in readers):
        return False
    fused = "scaled_dot_product_attention"
    return all(
        f.profile["op"][reader] != fused or row in f.measurement.links[reader][:2] for reader in readers
    )


@dataclass(frozen=True)
class Starved:
    """A path that hardly takes part where paths meet.

    ``less`` is the log of how far its part in the loss, ‖z‖ ‖∂L/∂z‖, and its ∂L/∂W beside the weight, whichever is
    nearer, lie below those of the strongest path.
    """

    rows: tuple[int, ...]
    meeting: int
    strongest: int
    less: float


def starved(f: Findings) -> Starved | None:
    """The worst path that a constant factor keeps out where it meets others.

    A layer that starts small gets gradients of the usual size beside its weight, and a learned factor, as of
    LayerScale, grows by itself: neither is starved, and neither is the path that such a layer stands on. Queries, keys
    and routers are left out, also where several of them meet: attention multiplies what it is given. A gate that is
    closed is a learned factor too, and what decides between copies gets nothing until they differ. Of a path that a
    router gave a part of the samples, the part in the loss counts for each sample.
    """
    links, felt = f.measurement.links, _felt(f)
    place = {row: i for i, row in enumerate(f.at("weight").tolist())}
    with np.errstate(invalid="ignore"):
        moved = f.weights["log_weight_grad"] - log_weight_norm(f.weights)
    moved[f.extra(f.weights, "routes") > 0] = math.nan
    closed = {reader for gate in gates(f) for reader in f.feeds[gate]}
    worst: Starved | None = None
    for meeting, sources in enumerate(links):
        mixed = any(f.kinds[row] == "attention" for row in (meeting, *sources))
        if len(sources) < 2 or mixed or meeting in closed or _chooses(f, meeting):
            continue
        ends = {s: _ends(f, s) for s in sources if math.isfinite(felt[s])}
        if _of_copies(f, ends):
            continue
        sizes = {s: max((moved[place[r]] for r in rows), default=math.nan) for s, rows in ends.items()}
        known = [s for s in ends if math.isfinite(sizes[s])]
        if len(known) < 2:
            continue
        strongest = max(known, key=lambda s: float(felt[s]))
        # the other path may go around the meeting too, as a stream goes around a branch whose learned factor is small
        after = [felt[r] for r in (meeting, *f.feeds[meeting]) if math.isfinite(felt[r])]
        beside = min(felt[strongest], max(after, default=math.inf))
        for weak in known:
            fewer = math.log(max(_samples(f, strongest) / _samples(f, weak), 1.0))
            less = min(beside - felt[weak], sizes[strongest] - sizes[weak]) - fewer
            limit = worst.less if worst else SLIGHT
            if not less > limit:
                continue
            alone = reached(weak, links) - reached(strongest, links)
            own = [moved[place[r]] for r in alone if r in place]
            less = min(less, sizes[strongest] - max(own, default=sizes[weak]) - fewer)
            if less > limit:
                worst = Starved(tuple(ends[weak]), meeting, strongest, float(less))
    return worst


def dropped(f: Findings) -> tuple[int, int, float] | None:
    """The step of a chain at which the gradient falls most while the signal goes on: two rows, and ln of the fall.

    Weights hand on ‖z‖ ‖∂L/∂z‖ whatever their scale is. The product falls where a slope is nearly zero, or where a step
    has a backward of its own. Left out are small layers, which grow, what biases make, learned factors, choosers and
    steps in time.
    """
    worst: tuple[int, int, float] | None = None
    felt, fixed = _felt(f), f.extra(f.profile, "sigma_b") ** 2 > 0.99 * f.profile["q"]
    learned, quiet = f.extra(f.profile, "learned"), set(f.small) | set(f.at("recurrent").tolist())
    flags = f.profile["weight_flags"].astype(str)
    for row in f.at("weight").tolist():
        here, seen = row, [row]
        while f.feeds and len(f.feeds[here]) == 1 and len(seen) < LONG:
            here = f.feeds[here][0]
            seen.append(here)
            if f.kinds[here] == "weight" or len(f.measurement.links[here]) > 1:
                break
        ends = f.kinds[here] == "weight" and here != row and len(f.measurement.links[here]) == 1
        if not ends or quiet.intersection((row, here)) or f.later[row] or f.later[here] or fixed[here]:
            continue
        # gradients of equal units cancel; a weight of zeros has a rule of its own
        if any(learned[at] > 0 or f.kinds[at] == "attention" for at in seen) or flags[here] or flags[row]:
            continue
        if not (math.isfinite(felt[here]) and math.isfinite(felt[row])):
            continue
        fall = float(felt[here] - felt[row])
        if fall > FORGIVEN and (worst is None or fall > worst[2]):
            worst = row, here, fall
    return worst


def gates(f: Findings) -> frozenset[int]:
    """Sigmoids, and what is left of 1, that are closed or open on every sample where a sum has another way.

    As the gates of a highway network that starts as the identity: a gate's slope is lost, and the signal's way is not.
    Measured (digits, ten layers, gates started at −12, 200 steps): gradient descent ends at .005, Adam below 10⁻⁴.
    """
    if f.loops:
        return frozenset()
    q, ops = log(f.profile["q"]), f.profile["op"].astype(str)
    closed = {"sigmoid", "hardsigmoid", "rsub"}
    shut = [i for i in f.at("activation").tolist() if ops[i] in closed and not OPENED[0] < q[i] < OPENED[1]]
    found = set()
    for row in shut:
        meetings = f.feeds[row]
        if meetings and all(
            f.kinds[m] == "residual"
            and any(s not in shut and abs(q[s] - q[m]) < CARRIED for s in f.measurement.links[m])
            for m in meetings
        ):
            found.add(row)
    return frozenset(found)


def branches(f: Findings) -> frozenset[int]:
    """Activations on the branches of residual sums: the stream hands signals and gradients on without them.

    Measured (digits, 20 blocks x + W₂ φ(W₁ x) of 32 units, 200 steps, the better of two rates): with W₁ so large that
    .5 to .91 of the entries of every block are saturated, tanh and sigmoid end at .10 to .36 by gradient descent and at
    .06 to 1.1 by Adam; the same layers without the stream end at 2.2 to 2.3, a guess's loss.
    """
    links, found = f.measurement.links, set[int]()
    if f.loops or not links:
        return frozenset()
    for row in f.at("residual").tolist():
        stream, *others = links[row]
        around = reached(stream, links)
        found.update(*(reached(other, links) - around for other in others))
    return frozenset(found.intersection(f.at("activation").tolist()))


def _of_copies(f: Findings, ends: dict[int, list[int]]) -> bool:
    """Whether copies of one layer meet."""
    read = {f"{f.names[row]}{suffix}" for rows in ends.values() for row in rows for suffix in ("", ".weight")}
    return any(len(read.intersection(group)) > 1 for group in f.meta.get("copies", ()))


def _samples(f: Findings, row: int) -> float:
    """The first size of what a row holds: the samples, or the part of them that a router gave it."""
    first = str(f.profile["shape"][row]).split("×")[0]
    return float(first) if first.isdigit() and int(first) > 0 else 1.0


def _felt(f: Findings) -> np.ndarray:
    """Ln ‖z‖ ‖∂L/∂z‖ of every row up to what all rows share; NaN behind a learned factor."""
    known = np.isin(f.profile["kind"].astype(str), ("weight", "activation", "residual"))
    size = product(f.profile["log_grad"] + np.log(entries(f.profile)), 0.5 * log(f.profile["q"]))
    return np.where(known, size, math.nan)


def _ends(f: Findings, row: int) -> list[int]:
    """The last weight layers of the path that ends in a row; none where a learned factor stands behind one."""
    found, seen, stack = [], {row}, [row]
    learned = f.extra(f.profile, "learned")
    while stack:
        here = stack.pop()
        kind = f.kinds[here] if not learned[here] > 0 else "learned"
        if kind == "weight":
            found.append(here)
        elif kind in ("activation", "residual"):
            new = [s for s in f.measurement.links[here] if s not in seen]
            seen.update(new)
            stack += new
        else:
            return []
    return [] if any("zero" in str(f.profile["weight_flags"][r]) for r in found) else found


def log_weight_norm(rows: Profile) -> np.ndarray:
    """Ln ‖W‖ of each row's weight, from its scale: ‖W‖² = entries · σ_w²/fan-in; −∞ for a weight of zeros."""
    with np.errstate(divide="ignore", invalid="ignore"):
        size = 0.5 * (np.log(weight_entries(rows)) - np.log(rows["fan_in"])) + np.log(rows["sigma_w"])
    return np.asarray(size)


def weight_entries(rows: Profile) -> np.ndarray:
    """Number of entries of each row's weight, 1 where it has none."""
    shapes = rows["weight_shape"]
    return np.array([math.prod(map(int, s.split("×"))) if s and s[0].isdigit() else 1 for s in shapes], float)
