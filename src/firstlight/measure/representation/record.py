"""Representation measures by name: one record a layer, for audits and for any tensor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from firstlight.clean_room import clean
from firstlight.errors import DomainError, did_you_mean
from firstlight.measure.representation._rows import samples_by_units
from firstlight.measure.representation.diffusion import diffusion_spectral_entropy
from firstlight.measure.representation.entries import dc_share, top_over_median, zero_share
from firstlight.measure.representation.information import mutual_information
from firstlight.measure.representation.patterns import activation_patterns, space_folding
from firstlight.measure.representation.router import router_load
from firstlight.measure.representation.spectrum import epsilon_rank, von_neumann_entropy


@dataclass(frozen=True)
class RepresentationMeasure:
    """A measure that audits know by name.

    Attributes
    ----------
    name
        What ``audit(…, measures=…)`` calls it.
    columns
        The columns that it fills, in order.
    function
        From samples × units, the experts that a router sends each sample to, and the samples' classes or None, to one
        number for each column.
    """

    name: str
    columns: tuple[str, ...]
    function: Callable[[Tensor, int, Tensor | None], tuple[float, ...]]


def _patterns(rows: Tensor, top: int, labels: Tensor | None) -> tuple[float, ...]:
    found = activation_patterns(rows)
    return found.distance, found.distinct


def _router(rows: Tensor, top: int, labels: Tensor | None) -> tuple[float, ...]:
    found = router_load(rows, top=top)
    return found.largest, found.idle, found.entropy


def _information(rows: Tensor, top: int, labels: Tensor | None) -> tuple[float, ...]:
    found = mutual_information(rows, labels)
    return found.inputs, found.labels


REPRESENTATION_MEASURES: Mapping[str, RepresentationMeasure] = {
    m.name: m
    for m in (
        RepresentationMeasure("vne", ("vne",), lambda rows, top, labels: (von_neumann_entropy(rows),)),
        RepresentationMeasure("epsilon-rank", ("epsilon_rank",), lambda rows, top, labels: (epsilon_rank(rows),)),
        RepresentationMeasure("dse", ("dse",), lambda rows, top, labels: (diffusion_spectral_entropy(rows),)),
        RepresentationMeasure("patterns", ("pattern_distance", "pattern_share"), _patterns),
        RepresentationMeasure("folding", ("folding",), lambda rows, top, labels: (space_folding(rows),)),
        RepresentationMeasure("zeros", ("zeros",), lambda rows, top, labels: (zero_share(rows),)),
        RepresentationMeasure("dc", ("dc_share",), lambda rows, top, labels: (dc_share(rows),)),
        RepresentationMeasure("massive", ("top_over_median",), lambda rows, top, labels: (top_over_median(rows),)),
        RepresentationMeasure("information", ("information", "information_labels"), _information),
        RepresentationMeasure("router", ("router_largest", "router_idle", "gate_entropy"), _router),
    )
}  # fmt: skip


def chosen_measures(names: str | Iterable[str], doing: str) -> tuple[RepresentationMeasure, ...]:
    """The measures of these names, each once, in the order given.

    Raises
    ------
    DomainError
        A name that no measure has.

    Examples
    --------
    >>> from firstlight.measure import chosen_measures
    >>> [m.name for m in chosen_measures(("vne", "zeros", "vne"), "reading names")]
    ['vne', 'zeros']
    """
    asked = (names,) if isinstance(names, str) or not isinstance(names, Iterable) else tuple(names)
    for name in asked:
        if not isinstance(name, str) or name not in REPRESENTATION_MEASURES:
            raise DomainError(
                f"while {doing}: expected measures among {', '.join(REPRESENTATION_MEASURES)}, got {name!r}"
                f"{did_you_mean(str(name), REPRESENTATION_MEASURES)}"
            )
    return tuple(REPRESENTATION_MEASURES[name] for name in dict.fromkeys(asked))


@clean
def representation(
    x: Tensor,
    measures: str | Iterable[str],
    *,
    dim: int = -1,
    top: int = 1,
    labels: Tensor | None = None,
) -> dict[str, float]:
    """Several measures of one representation as one record, by column.

    Parameters
    ----------
    x
        Any float tensor with an axis of units; every other axis counts samples.
    measures
        Names among ``measure.REPRESENTATION_MEASURES``.
    dim
        The axis of units.
    top
        Experts that each sample is sent to, where ``x`` holds the logits of a router; only ``"router"`` reads it.
    labels
        One integer class for each sample, for ``"information"``; NaN for the labels without.

    Raises
    ------
    DomainError
        A name that no measure has, data that is no float tensor with such an axis, or labels that do not fit.

    Examples
    --------
    >>> import torch
    >>> from firstlight import measure
    >>> measure.representation(torch.eye(4), ("epsilon-rank", "zeros"))
    {'epsilon_rank': 4.0, 'zeros': 0.75}
    """
    doing = "measuring a representation"
    rows = samples_by_units(x, dim, doing)
    record: dict[str, float] = {}
    for m in chosen_measures(measures, doing):
        record |= zip(m.columns, m.function(rows, top, labels), strict=True)
    return record
