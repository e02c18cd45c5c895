"""Slopes of activations where the signal stands: units without any, and entries on a flat part."""

from __future__ import annotations

import torch
from torch import Tensor

from firstlight import activations
from firstlight.probe.graph._site import Link, Site
from firstlight.probe.local._functions import Replayed
from firstlight.probe.read._groups import alike

# Functions with a side on which the slope is exactly zero, by what their names hold.
FLAT_SIDED = (
    "relu",
    "hardtanh",
    "hardsi",
    "hardsw",
    "shrink",
    "threshold",
    "clamp",
    "clip",
    "maximum",
    "minimum",
)


def judge_slopes(function: Replayed, links: list[Link]) -> None:
    """Fill in the share of saturated entries of every row of φ; leave only those units dead whose slope is zero."""
    doubtful = []
    for link in links if links[0].expression.sloped else ():
        row = _row(link)
        if row is not None and link.source.rows is not None and row.values.get("dead", 0.0) > 0.0:
            doubtful.append((row, link.source.rows))
    phi, steepest = function.phi, function.steepest if doubtful else 0.0
    for group in alike(doubtful, lambda pair: (pair[1].shape, pair[1].device)):
        shares = _flat_units(phi, torch.stack([z for _, z in group]), steepest)
        for (row, _), share in zip(group, shares):
            row.values |= {"dead": min(row.values["dead"], share), "slope_known": True}
    _saturate(function, links)


def without_slopes(sites: list[Site]) -> None:
    """Rows whose function could not be replayed: constant units are dead only where the function has a flat side."""
    for site in sites:
        known = site.values.pop("slope_known", False)
        if known or site.kind != "activation" or "dead" not in site.values:
            continue
        op = site.op.lower()
        if not any(name in op for name in FLAT_SIDED):
            site.values["dead"] = 0.0


def _row(link: Link) -> Site | None:
    return link.target if link.target.echo else link.via


def _flat_units(phi: activations.Activation, z: Tensor, steepest: float) -> list[float]:
    """Share of the units of each layer where φ has no slope on any sample, beside its steepest one.

    A place between two slopes, as that of a square at zero, is not flat: the first step leaves it.
    """
    if steepest == 0.0:
        return [0.0] * len(z)
    z = z.double()
    flat = phi.derivative(z).abs() <= 1e-6 * steepest
    if bool(flat.any()):
        step = 1e-3 * z.abs().clamp(min=1.0)
        flat &= (
            torch.minimum(phi.derivative(z - step).abs(), phi.derivative(z + step).abs()) <= 1e-6 * steepest
        )
    shares: list[float] = flat.all(dim=1).double().mean(dim=1).tolist()
    return shares


def _saturate(function: Replayed, links: list[Link]) -> None:
    """Fill in the share of saturated entries of every row that holds φ."""
    phi, steepest = function.phi, function.steepest_if_bounded if links[0].expression.sloped else None
    if steepest is None:
        return
    off = function.off
    thin = []
    for link in links if links[0].expression.sloped else ():
        row = _row(link)
        if row is not None and link.source.rows is not None:
            thin.append((row, link.source.rows[::2, ::2]))
    for group in alike(thin, lambda pair: (pair[1].shape, pair[1].device)):
        shares = _saturated(phi, torch.stack([z for _, z in group]), steepest, off)
        for (row, _), share in zip(group, shares):
            row.values["saturated"] = share


def _saturated(
    phi: activations.Activation, z: Tensor, steepest: float, off: tuple[bool, bool]
) -> list[float]:
    """Share of each layer's entries on a flat part of φ, without a side that is off."""
    flat = phi.derivative(z).abs() < 0.05 * steepest
    if off[0]:
        flat &= z >= 0
    if off[1]:
        flat &= z <= 0
    shares: list[float] = flat.flatten(1).double().mean(dim=1).tolist()
    return shares
