"""Measures of representations: one record a row, where the protocol asks for them."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from firstlight import measure
from firstlight.clean_room import apart
from firstlight.measure import RepresentationMeasure, chosen_measures
from firstlight.probe.graph._site import Origin, Site

# Steps from the experts that are chosen back to the layer that makes their logits: a softmax, a bias, a temperature.
_STEPS = 4
ROUTES = "routes"


def mark_router(origin: Origin, experts: int, chosen: object) -> None:
    """Remember on the layer whose outputs the experts' gates are made of how many experts each token is sent to."""
    first = chosen[0] if isinstance(chosen, tuple) else chosen
    if not isinstance(first, Tensor) or first.dim() == 0:
        return
    level = list(origin.sites)
    for _ in range(_STEPS):
        for site in level:
            if site.kind == "weight" and site.shape and site.shape[-1] == experts and site.unit == -1:
                site.values[ROUTES] = first.shape[-1]
                return
        level = [parent for site in level for parent in site.parents]


@apart
def measure_representations(sites: Iterable[Site], names: tuple[str, ...] | str) -> None:
    """Fill the columns of the measures that were asked for, from the rows that were read of every site."""
    asked = chosen_measures(names, "measuring representations")
    if not asked:
        return
    for site in sites:
        if site.rows is not None and site.rows.numel():
            for m in asked:
                _fill(site, site.rows, m)


def _fill(site: Site, rows: Tensor, m: RepresentationMeasure) -> None:
    if m.name == "router" and ROUTES not in site.values:
        return
    found = measure.representation(rows, m.name, top=site.values.get(ROUTES, 1))
    if m.name == "massive":
        # the largest of all entries, over the median of those that were read
        found["top_over_median"] *= site.values["absmax"] / max(float(rows.abs().max()), 1e-300)
    site.values |= found
