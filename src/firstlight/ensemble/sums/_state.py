"""Everything that is kept about one layer: sums that merge, and their way to arrays and back."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from firstlight.ensemble.sums._blocks import LawBlocks
from firstlight.ensemble.sums._means import MeanSums, pack_mean, unpack_mean
from firstlight.ensemble.sums._moments import PowerSums
from firstlight.ensemble.sums.correlations import CorrelationSums
from firstlight.ensemble.sums.distance import Distance, ks_of_deviations, ks_of_values
from firstlight.ensemble.sums.sketch import Sketch

MEANS = ("isometry_gap", "effective_rank", "log_grad", "log_weight_grad", "log_q")
_QUANTILES = ("log_grad", "log_weight_grad", "log_q")


@dataclass(frozen=True)
class LayerState:
    """What a set of networks says about one layer.

    Attributes
    ----------
    powers
        Sums of mean powers.
    law
        Sketch of the pre-activations, or of their conditional standard deviations if ``conditional``.
    conditional
        Whether Rao–Blackwell estimates are used.
    means
        Means of one number per network, by name.
    correlations
        Sums of correlations between inputs, where there are several.
    blocks
        The laws of the blocks of a jackknife; None for one block.
    """

    powers: PowerSums
    law: Sketch
    conditional: bool
    means: Mapping[str, MeanSums]
    correlations: CorrelationSums | None = None
    blocks: LawBlocks | None = None

    def merge(self, other: LayerState, *, same_shard: bool = False) -> LayerState:
        """Over both sets of networks; chunks of one shard share a block of the jackknife."""
        both = None
        if self.correlations is not None and other.correlations is not None:
            join = self.correlations.add if same_shard else self.correlations.merge
            both = join(other.correlations)
        powers = self.powers.add(other.powers) if same_shard else self.powers.merge(other.powers)
        return LayerState(
            powers,
            self.law.merge(other.law),
            self.conditional,
            {name: sums.merge(other.means[name]) for name, sums in self.means.items()},
            both,
            None if same_shard else self._blocks.merge(other._blocks),
        )

    @property
    def _blocks(self) -> LawBlocks:
        return self.blocks or LawBlocks.of(self.law)

    def row(self) -> dict[str, float]:
        """The numbers of one row of a profile, each with its standard error."""
        result = dict(self.powers.summary())
        ks = ks_of_deviations if self.conditional else ks_of_values
        nets = self.powers.nets
        raw = ks(self.law, nets=nets)
        result |= {"ks": raw.value, "ks_se": self._error(raw, own_scale=False), "ks_error": raw.error}
        shape = ks(self.law, scale=math.sqrt(max(result["q"], 0.0)), nets=nets, own_scale=True)
        result |= {
            "ks_standardised": shape.value,
            "ks_standardised_se": self._error(shape, own_scale=True),
            # Stephens' finite-sample form of the 5 % line for one unit per network
            "ks_critical": 1.3581 / (math.sqrt(nets) + 0.12 + 0.11 / math.sqrt(nets)),
        }
        infinite = np.isinf(self.law.centres())
        bad = self.law.invalid + int(self.law.counts[infinite].sum())
        result["nonfinite"] = bad / max(self.law.total + self.law.invalid, 1)
        if self.correlations is not None:
            result |= self.correlations.summary()
        for name in MEANS:
            if name in self.means:
                result |= self.means[name].summary(name, quantiles=name in _QUANTILES)
        return result

    def _error(self, distance: Distance, *, own_scale: bool) -> float:
        """Standard error of a distance: by the jackknife over blocks, and the largest it can be with few blocks."""
        squares = self.powers.squares()
        kind = {"conditional": self.conditional, "own_scale": own_scale}
        found = self._blocks.error(distance.at, squares, **kind)
        return distance.se if found is None else found


def merge_states(states: Iterable[Mapping[int, LayerState]]) -> dict[int, LayerState]:
    """Fold the states of shards, given in the order of their numbers, layer by layer."""
    result: dict[int, LayerState] = {}
    for state in states:
        for layer, value in state.items():
            result[layer] = result[layer].merge(value) if layer in result else value
    return result


def pack(state: Mapping[int, LayerState]) -> dict[str, np.ndarray]:
    """A shard's state as named arrays, for a file."""
    arrays: dict[str, np.ndarray] = {"layers": np.array(sorted(state), np.int64)}
    for layer, value in state.items():
        p = value.powers
        entry: dict[str, np.ndarray] = {
            "powers": np.concatenate([[p.nets, p.exponent], p.total]),
            "products": p.products,
            "conditional": np.array(value.conditional),
        } | value.law.to_arrays()
        if value.correlations is not None:
            c = value.correlations
            entry |= {"moments": c.moments, "cosines": c.cosines, "defined": c.defined, "nets": c.nets}
        for name, sums in value.means.items():
            entry |= {f"{name}.{key}": array for key, array in pack_mean(sums).items()}
        arrays |= {f"{layer}/{key}": array for key, array in entry.items()}
    return arrays


def unpack(arrays: Mapping[str, np.ndarray]) -> dict[int, LayerState]:
    """The inverse of ``pack``."""
    entries: dict[int, dict[str, np.ndarray]] = {layer: {} for layer in arrays["layers"].tolist()}
    for name, array in arrays.items():
        layer, _, key = name.partition("/")
        if key:
            entries[int(layer)][key] = array
    return {layer: _unpack_layer(entry) for layer, entry in entries.items()}


def _unpack_layer(entry: Mapping[str, np.ndarray]) -> LayerState:
    powers = entry["powers"]
    correlations = None
    if "moments" in entry:
        correlations = CorrelationSums(entry["moments"], entry["cosines"], entry["defined"], entry["nets"])
    means = {
        name: unpack_mean({k.split(".")[1]: v for k, v in entry.items() if k.startswith(f"{name}.")})
        for name in MEANS
        if f"{name}.sums" in entry
    }
    return LayerState(
        PowerSums(int(powers[0]), int(powers[1]), powers[2:], entry["products"]),
        Sketch.from_arrays(entry),
        bool(entry["conditional"]),
        means,
        correlations,
    )
