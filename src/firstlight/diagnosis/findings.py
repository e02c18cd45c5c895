"""Findings: what the rules read, computed once from a measurement."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from firstlight.diagnosis._loops import calls_of, one_row_each, through_time
from firstlight.diagnosis._saddle import HALF, PLAIN, SHORT, leaves
from firstlight.diagnosis._small import SMALL, held_back
from firstlight.diagnosis._streams import chains, widths
from firstlight.diagnosis._words import entries as entries
from firstlight.diagnosis._words import factor as factor
from firstlight.diagnosis._words import log as log
from firstlight.diagnosis._words import names as names
from firstlight.diagnosis._words import number as number
from firstlight.diagnosis._words import product as product
from firstlight.diagnosis.trend import Trend, fit
from firstlight.probe.measurement import Measurement
from firstlight.profile import Profile

# The σ_w of torch's own start; a readout is small in comparison with this number.
USUAL = 1.0 / math.sqrt(3.0)
# Weight layers from which a chain counts as deep.
DEEP = 20
# Kinds of rows that mix units, tokens or time: rows between two of them belong to one layer.
MIXES = ("weight", "recurrent", "attention")
# Layers that give distances to what they have learnt.
DISTANCES = ("cdist", "pairwise_distance")


@dataclass(frozen=True)
class Findings:
    """A measurement, and the views of it that several rules share."""

    measurement: Measurement
    optimiser: str | None = None

    @property
    def profile(self) -> Profile:
        """All rows."""
        return self.measurement.profile

    @property
    def meta(self) -> Any:
        """Facts about the run."""
        return self.measurement.meta

    @property
    def learnt(self) -> bool:
        """Whether the first loss is below half of a guess's: the outputs know the targets, so this is no start."""
        return self.meta.get("loss_mean", math.nan) < 0.5 * self.meta.get("guess", math.nan)

    @property
    def drawn(self) -> bool:
        """Whether no loss is known, and the output times a random tensor stands in its place."""
        return str(self.meta.get("loss", "")).startswith("random")

    @cached_property
    def weights(self) -> Profile:
        """Rows of weight layers."""
        return self.profile.select("weight")

    @cached_property
    def norms(self) -> Profile:
        """Rows of normalisers."""
        return self.profile.select("norm")

    def at(self, *kinds: str) -> np.ndarray:
        """Numbers of the rows of these kinds."""
        return np.array([row for row, kind in enumerate(self.kinds) if kind in kinds], int)

    def rows(self, index: np.ndarray) -> Profile:
        """The rows with these numbers (or at the places of a mask)."""
        return self.profile.take(index)

    def extra(self, rows: Profile, column: str) -> np.ndarray:
        """A column that not every profile has, NaN where it is missing."""
        return rows[column] if column in rows.columns else np.full(len(rows), math.nan)

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """The kind of every row."""
        return tuple(str(kind) for kind in self.profile["kind"])

    @cached_property
    def feeds(self) -> tuple[tuple[int, ...], ...]:
        """For every row the numbers of the rows that read it."""
        found: list[list[int]] = [[] for _ in range(len(self.profile))]
        for row, sources in enumerate(self.measurement.links):
            for source in sources:
                found[source].append(row)
        return tuple(map(tuple, found))

    def next_rows(self, row: int, *kinds: str) -> list[int]:
        """The nearest rows of these kinds below a row, on every way down; other kinds are passed through."""
        found, seen, stack = [], {row}, [row]
        while stack:
            for child in self.feeds[stack.pop()] if self.feeds else ():
                if child in seen:
                    continue
                seen.add(child)
                if self.kinds[child] in kinds:
                    found.append(child)
                else:
                    stack.append(child)
        return found

    def joins(self, row: int) -> bool:
        """Whether a row goes into a residual sum with no layer in between."""
        ends = self.next_rows(row, "residual", *MIXES)
        return any(self.kinds[end] == "residual" for end in ends)

    def into_norm(self, row: int) -> bool:
        """Whether a normaliser reads a row, and nothing else does."""
        return bool(self.feeds and self.feeds[row]) and all(
            self.kinds[reader] == "norm" for reader in self.feeds[row]
        )

    @cached_property
    def readout(self) -> np.ndarray:
        """Whether a row is read by no further layer."""
        if not self.measurement.links:
            depth = self.profile["depth"]
            return np.asarray(depth == np.nanmax(depth, initial=-math.inf), bool)
        return np.array([not self.next_rows(row, *MIXES) for row in range(len(self.profile))], bool)

    @cached_property
    def log_gradient_norms(self) -> np.ndarray:
        """Ln ‖∂L/∂z‖ of the weight rows: the norm, not the rms, is what an isometric layer keeps.

        A readout that starts small, or at zero, scales all gradients below it, and training makes the readout grow. The
        readout counts as one of the usual scale, or of the other layers' scale if that is smaller, and so do small
        hidden layers that training makes grow. Routers of experts are left out, since a softmax stands behind them.
        """
        index = self.at("weight")
        logs, sigma = self.log_norms[index].copy(), self.profile["sigma_w"][index]
        readout = self.readout[index]
        others = sigma[~readout & (sigma > 0)]
        usual = min(USUAL, float(np.median(others))) if len(others) and not self.grows else USUAL
        small = readout & (sigma > 0) & (sigma < usual / 2)
        logs[small] += np.log(sigma[small] / usual)
        logs += self.held_back
        logs[self.extra(self.profile, "routes")[index] > 0] = math.nan
        if not self.loops:
            return logs
        place = {row: i for i, row in enumerate(index.tolist())}
        calls = [[place[row] for row in rows] for rows in calls_of(self.names, index.tolist()).values()]
        return one_row_each(calls, logs)

    @cached_property
    def grows(self) -> bool:
        """Whether the network is a chain so short that an adaptive optimiser makes all small weights grow."""
        return self.optimiser == "adam" and self.chain and len(self.weights) <= SHORT

    @cached_property
    def chain(self) -> bool:
        """Whether the network has layers and activations alone, without skips, normalisers and loops."""
        return set(self.kinds) <= PLAIN and not self.loops

    @cached_property
    def leaves(self) -> bool:
        """Whether gradient descent leaves a short chain of small weights at a usual rate."""
        trend = self.gradient if self.chain and self.optimiser != "adam" else None
        return trend is not None and leaves(self.weights, trend.total, USUAL)

    @cached_property
    def small_line(self) -> float:
        """The σ_w under which a layer counts as small."""
        sigma = self.weights["sigma_w"]
        return HALF * USUAL if self.grows or not len(sigma) else SMALL * float(np.median(sigma))

    @cached_property
    def small(self) -> tuple[int, ...]:
        """Hidden layers on less than a tenth of the others' scale, which no normaliser reads."""
        index, sigma = self.at("weight"), self.weights["sigma_w"]
        low = (sigma > 0) & (sigma < self.small_line) & ~self.readout[index]
        return tuple(row for row in index[low].tolist() if not self.into_norm(row))

    @cached_property
    def held_back(self) -> np.ndarray:
        """Ln of the factor by which small layers hold back the gradients of the weight rows in front of them.

        Plain gradient descent makes one of them grow in time, an adaptive optimiser all of them.
        """
        index, sigma = self.at("weight").tolist(), self.weights["sigma_w"]
        if not self.small or not self.measurement.links or (len(self.small) > 1 and self.optimiser != "adam"):
            return np.zeros(len(index))
        usual = USUAL if self.grows else min(USUAL, float(np.median(sigma)))
        return held_back(index, self.small, sigma, usual, (self.measurement.links, self.feeds))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The name of every row."""
        return tuple(str(name) for name in self.profile["name"])

    @cached_property
    def loops(self) -> tuple[str, ...]:
        """Names of the layers that are called step by step along time, each on what it gave before."""
        links = self.measurement.links
        calls = calls_of(self.names, self.at("weight").tolist()) if links else {}
        quiet = set(self.at("input").tolist()) - set(self.data.tolist())
        cells = set(self.at("recurrent").tolist())
        return tuple(n for n, rows in calls.items() if through_time(rows, links, self.feeds, quiet, cells))

    @cached_property
    def rescaled(self) -> np.ndarray:
        """Whether only normalisers read a row, and they use the row's own moments: the row's scale changes nothing."""
        own = np.isfinite(self.extra(self.profile, "norm_gain"))
        weights = [self.kinds[row] == "weight" and self.into_norm(row) for row in range(len(self.profile))]
        return np.array(
            [read and all(own[reader] for reader in self.feeds[row]) for row, read in enumerate(weights)],
            bool,
        )

    @cached_property
    def log_norms(self) -> np.ndarray:
        """Ln ‖∂L/∂z‖ of every row; behind a layer that a normaliser rescales, times the root mean square of z.

        The normaliser divides z and the gradient by the size of z: only their product says what a relative change of
        the layer does.
        """
        logs = self.profile["log_grad"] + 0.5 * np.log(entries(self.profile))
        # a batch norm divides by the deviation of each channel
        batch = [bool(r) and all(self.profile["op"][i] == "batch_norm" for i in r) for r in self.feeds]
        size = np.where(batch, self.profile["channel_var"], self.profile["q"])
        return np.where(self.rescaled, product(logs, 0.5 * log(size)), logs)

    @cached_property
    def sensitivity(self) -> np.ndarray:
        """Ln ‖∂L/∂z‖ ‖z‖ of every row over the largest of the weight rows that no further layer reads."""
        size = 0.5 * log(self.profile["q"] * entries(self.profile))
        felt = product(self.profile["log_grad"] + 0.5 * np.log(entries(self.profile)), size)
        ends = felt[[row for row in self.at("weight").tolist() if self.readout[row]]]
        ends = ends[np.isfinite(ends)]
        return felt - ends.max() if len(ends) else np.full(len(felt), math.nan)

    @cached_property
    def gradient(self) -> Trend | None:
        """Trend of the log gradient norm with depth, negative towards growth; steps of a loop are one layer."""
        depth, logs = self.weights["depth"], self.log_gradient_norms
        if self.loops:
            kept = np.isfinite(logs)
            depth = np.searchsorted(np.unique(depth[kept]), depth).astype(float)
        return fit(depth, logs)

    @cached_property
    def signal(self) -> Trend | None:
        """Trend of ln q over weight rows."""
        return fit(self.weights["depth"], log(self.weights["q"]), settles=True)

    @cached_property
    def batch_normed(self) -> bool:
        """Whether at least half of the weight layers have a batch norm that uses the batch."""
        count = sum(str(op) == "batch_norm" for op in self.norms["op"])
        uses_batch = np.isfinite(self.norms["norm_gain"]).any()
        return bool(uses_batch) and count * 2 >= max(len(self.weights), 1)

    @cached_property
    def few_normed(self) -> bool:
        """Whether a quarter of the batch norms see eight entries or fewer on this batch."""
        left = self.extra(self.norms, "norm_left")[self.norms["op"] == "batch_norm"]
        return bool(len(left)) and float((left <= 6).mean()) >= 0.25

    @cached_property
    def data(self) -> np.ndarray:
        """Numbers of the inputs that hold data: not those of zeros and ones, or of one value, beside others."""
        index = self.at("input")
        rows = self.rows(index)
        masks = rows["var"] <= 1e-12 * rows["q"]
        masks |= np.abs(rows["q"] - rows["mean"]) <= 1e-6 * np.abs(rows["q"])
        return index[~masks] if (~masks).any() else index

    @cached_property
    def one_sample(self) -> bool:
        """Whether the batch repeats one sample, or is one."""
        rows = self.rows(self.data)
        c, copies = rows["correlation"], self.extra(rows, "copies")
        # one large column makes cosines of 1 out of samples that differ in every other
        same = np.where(np.isnan(copies), c > 1.0 - 1e-6, copies == 1.0)
        return bool(len(c)) and bool((same | np.isnan(c)).all())

    @cached_property
    def first(self) -> np.ndarray:
        """Numbers of the rows of layers that read an input, with no other layer and no embedding in between."""
        index = self.at("weight", "recurrent")
        if not self.measurement.links:
            return index[self.profile["depth"][index] <= 1]
        below: set[int] = set()
        fed = set(self.at("input").tolist())
        for row, sources in enumerate(self.measurement.links):
            if any(source in below or self.kinds[source] in (*MIXES, "embedding") for source in sources):
                below.add(row)
            elif any(source in fed for source in sources):
                fed.add(row)
        return np.array([row for row in index.tolist() if row in fed and row not in below], int)

    def read(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Second moment and mean of what rows read; of their input's row where the reading was not measured."""
        q, mean = (self.extra(self.profile, name)[index].copy() for name in ("read_q", "read_mean"))
        for place, row in enumerate(index.tolist()):
            sources = self.measurement.links[row] if self.measurement.links else ()
            inputs = [s for s in sources if self.kinds[s] == "input"]
            if math.isnan(q[place]) and inputs:
                q[place], mean[place] = (self.profile[name][inputs[0]] for name in ("q", "mean"))
        return q, mean

    def stops(self, row: int) -> bool:
        """Whether only this row carries the signal on: if it stops, the next layers give one output for all samples."""
        flags = self.profile["weight_flags"]
        below = [i for i in self.next_rows(row, *MIXES) if "zero" not in str(flags[i])]
        q, c = self.profile["q"], self.profile["correlation"]
        return any(q[i] == 0.0 or c[i] > 1.0 - 1e-6 for i in below) and not self.one_sample

    @cached_property
    def shut(self) -> list[int]:
        """Layers of zeros that stop the signal, for as long as they take no step."""
        flags, rows = self.profile["weight_flags"], self.at("weight").tolist()
        return [row for row in rows if "zero" in str(flags[row]).split(", ") and self.stops(row)]

    @cached_property
    def centred_zeros(self) -> bool:
        """Whether a batch norm reads every layer of zeros that stops the signal, so that a first step opens the layer.

        What varies over the batch is zero there, and the batch norm divides the gradient by √ε.
        """
        ops = self.profile["op"]
        return bool(self.shut) and all(
            self.into_norm(row) and all(ops[reader] == "batch_norm" for reader in self.feeds[row])
            for row in self.shut
        )

    @cached_property
    def deep_normed(self) -> bool:
        """Whether the network is a chain of twenty layers or more with a normaliser of each sample and no skips."""
        return not self.residual and len(self.weights) > DEEP and self.sample_normed

    @cached_property
    def sample_normed(self) -> bool:
        """Whether normalisers of each sample stand after at least half of the weight layers."""
        return sum(str(op) != "batch_norm" for op in self.norms["op"]) * 2 >= max(len(self.weights), 1)

    @cached_property
    def normalised(self) -> bool:
        """Whether normalisers of any kind stand after at least half of the weight layers."""
        return len(self.norms) * 2 >= max(len(self.weights), 1)

    @cached_property
    def residual(self) -> bool:
        """Whether the network has a stream of residual sums."""
        return len(self.profile.select("residual")) >= 2

    @cached_property
    def theory_growth(self) -> float:
        """Theory's log growth of the squared gradient per weight layer; NaN where a factor on the way is unknown."""
        inner = self.at("weight", "norm", "residual")
        trend, linked = self.gradient, bool(self.measurement.links)
        if trend is None or self.residual or self.loops or len(inner) < 2 or not linked:
            return math.nan
        below = [self.next_rows(row, "weight", "norm", "residual", *MIXES) for row in inner[:-1].tolist()]
        values = self.profile["growth_theory"][inner[:-1]]
        chain = below == [[after] for after in inner[1:].tolist()]
        # an activation whose use is not known ends the row's own factor before the next row
        between = [r for row in inner[:-1].tolist() for r in self.feeds[row] if self.kinds[r] == "activation"]
        chain &= bool(np.isfinite(self.profile["log_grad_theory"][between]).all())
        if not chain or not np.isfinite(values).all() or not trend.span > 0:
            return math.nan
        return float(values.sum() / trend.span)

    @cached_property
    def streams(self) -> tuple[np.ndarray, ...]:
        """Residual sums in chains: each sum of a chain has the one before it as its stream, normalised at most."""
        return chains(self.at("residual").tolist(), self.measurement.links, self.kinds)

    def hidden(self) -> Profile:
        """Weight rows that another layer reads, without distances, which are alike whatever the signal is, and without
        the later steps of a loop, which are judged through time.
        """
        index = self.at("weight")
        distances = np.isin(self.profile["op"][index].astype(str), DISTANCES)
        return self.rows(index[~self.readout[index] & ~distances & ~self.later[index]])

    @cached_property
    def later(self) -> np.ndarray:
        """Whether a row is a later step of a layer or a cell that is called step by step along time."""
        parts = [name.partition("#") for name in self.names]
        steps = [name in self.loops or kind == "recurrent" for (name, _, _), kind in zip(parts, self.kinds)]
        return np.array([bool(call) and step for (_, _, call), step in zip(parts, steps)], bool)

    @cached_property
    def width(self) -> np.ndarray:
        """Directions that a row's units can have at most: its units, its fan-in, and the width of what it reads."""
        units = self.extra(self.profile, "units")
        return widths(units, self.profile["fan_in"], self.measurement.links, self.kinds)
