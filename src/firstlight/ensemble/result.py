"""Ensemble: the merged outcome of a simulation, as a profile and as matrices and laws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float

from firstlight.ensemble.plan import Plan
from firstlight.ensemble.sums._state import LayerState
from firstlight.ensemble.sums.correlations import CorrelationSums
from firstlight.ensemble.sums.distance import Distance, ks_of_deviations, ks_of_values
from firstlight.ensemble.sums.sketch import Sketch
from firstlight.errors import DomainError
from firstlight.files.plain_data import Record
from firstlight.profile import Profile


@dataclass(frozen=True)
class Ensemble:
    """What a finished simulation says, layer by layer.

    Attributes
    ----------
    plan
        What was computed.
    states
        The merged sums of each reported layer.
    inputs
        Shape of the inputs, (features, …, inputs).
    notes
        What happened on the way: shards taken over from an earlier attempt, damaged ones computed again.
    """

    plan: Plan
    states: Mapping[int, LayerState]
    inputs: tuple[int, ...]
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        from firstlight.render.brief import one_line

        return one_line("Ensemble", networks=self.plan.nets, layers=len(self.plan.layers), inputs=self.inputs)

    @property
    def profile(self) -> Profile:
        """One row per reported layer, every number with its standard error in a column ``…_se``."""
        rows, names = [], self.plan.net.names
        for layer in self.plan.layers:
            width = self.plan.net.widths[layer - 1]
            head: dict[str, object] = {"name": names[layer - 1], "kind": "weight", "depth": layer}
            shape = str((self.inputs[-1], width, *self.inputs[1:-1]))
            rows.append(head | {"shape": shape} | self._state(layer).row())
        _add_growth(rows)
        return Profile.from_rows(rows, source="simulate", meta=self._meta())

    def correlations(self, layer: int, *, per_network: bool = False) -> Float[np.ndarray, "inputs inputs"]:
        """Correlations between inputs at a layer, pooled over networks or averaged per-network cosines.

        Raises
        ------
        DomainError
            A layer that was not reported, or a simulation that kept no correlations.
        """
        sums: CorrelationSums | None = self._state(layer).correlations
        if sums is None:
            raise DomainError(
                f"while reading correlations of layer {layer}: expected a simulation of several inputs that "
                "kept them, got none; set correlations=True"
            )
        return sums.per_network() if per_network else sums.pooled()

    def ks(self, layer: int, *, scale: float = 1.0) -> Distance:
        """KS distance of a layer's pre-activations to N(0, scale²), with the error of the bins."""
        state = self._state(layer)
        measure = ks_of_deviations if state.conditional else ks_of_values
        return measure(state.law, scale=scale, nets=state.powers.nets)

    def law(self, layer: int) -> Sketch:
        """Sketch of a layer's pre-activations (of their conditional standard deviations if Rao–Blackwell)."""
        return self._state(layer).law

    def _state(self, layer: int) -> LayerState:
        if layer not in self.states:
            known = ", ".join(map(str, self.plan.layers))
            raise DomainError(f"while reading an ensemble: expected a layer among {known}, got {layer}")
        return self.states[layer]

    def _meta(self) -> Record:
        plan = self.plan
        return {
            "nets": plan.nets,
            "seed": plan.seed,
            "shards": plan.shards,
            "dtype": plan.dtype,
            "inputs": self.inputs[-1],
            "features": self.inputs[0],
            "rao_blackwell": [layer for layer, state in self.states.items() if state.conditional],
            "network": repr(plan.net),
        }


def _add_growth(rows: list[Record]) -> None:
    """Growth of the log squared gradient per layer between reported layers, towards the input."""
    for row, after in pairwise(rows):
        if "log_grad" in row:
            row["growth"] = 2 * (row["log_grad"] - after["log_grad"]) / (after["depth"] - row["depth"])
