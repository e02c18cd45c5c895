"""Measures of representations: one record a row, where the protocol asks for them."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from firstlight import measure
from firstlight.clean_room import apart
from firstlight.measure import RepresentationMeasure, chosen_measures
from firstlight.probe.graph._site import Origin, Site
from firstlight.probe.read._places import places

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
def measure_representations(
    sites: Iterable[Site], names: tuple[str, ...] | str, targets: object, most: int
) -> None:
    """Fill the columns of the measures that were asked for, from the rows that were read of every site.

    ``targets`` are read as classes where they are integers; ``most`` is the number of rows that a site is read on.
    """
    asked = chosen_measures(names, "measuring representations")
    for site in sites if asked else ():
        if site.rows is not None and site.rows.numel():
            for m in asked:
                _fill(site, site.rows, m, _classes(site, targets, most) if m.name == "information" else None)


def _fill(site: Site, rows: Tensor, m: RepresentationMeasure, labels: Tensor | None) -> None:
    if m.name == "router" and ROUTES not in site.values:
        return
    known = labels >= 0 if labels is not None else None  # a negative class, as that of padding, is none
    every = labels if known is not None and bool(known.all()) else None
    found = measure.representation(rows, m.name, top=site.values.get(ROUTES, 1), labels=every)
    if labels is not None and known is not None and every is None and bool(known.any()):
        told = measure.representation(rows[known.to(rows.device)], m.name, labels=labels[known])
        found["information_labels"] = told["information_labels"]
    if m.name == "massive":
        # the largest of all entries, over the median of those that were read
        found["top_over_median"] *= site.values["absmax"] / max(float(rows.abs().max()), 1e-300)
    site.values |= found


def _classes(site: Site, targets: object, most: int) -> Tensor | None:
    """The class of every row that was read of a site: that of its sample, or of its own place; None where not known."""
    if (
        not isinstance(targets, Tensor)
        or targets.is_floating_point()
        or targets.is_complex()
        or not targets.numel()
    ):
        return None
    unit = site.unit % max(len(site.shape), 1)
    lead = site.shape[:unit] + site.shape[unit + 1 :]
    count, labels = math.prod(lead), targets.detach().cpu().long()
    if tuple(labels.shape) not in (lead, lead[:1]) and not (len(lead) == 1 and count % labels.numel() == 0):
        return None
    # classes of samples are those of all their places
    labels = labels.flatten().repeat_interleave(count // labels.numel())
    if count > most:
        index = places(lead, most, torch.device("cpu"))
        labels = labels.view(lead)[index]
    return labels if site.rows is not None and len(labels) == len(site.rows) else None
