"""Slopes of activations where the signal stands: units without any, and entries on a flat part."""

from __future__ import annotations

import torch
from torch import Tensor

from firstlight import activations
from firstlight.probe.graph._site import Link, Site
from firstlight.probe.read._statistics import alike

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


def judge_slopes(phi: activations.Activation, links: list[Link]) -> None:
    """Fill in the share of saturated entries of every row of φ; leave only those units dead whose slope is zero."""
    doubtful = []
    for link in links if links[0].expression.sloped else ():
        row = _row(link)
        if row is not None and link.source.rows is not None and row.values.get("dead", 0.0) > 0.0:
            doubtful.append((row, link.source.rows))
    steepest = _steepest(phi) if doubtful else 0.0
    for group in alike(doubtful, lambda pair: (pair[1].shape, pair[1].device)):
        shares = _flat_units(phi, torch.stack([z for _, z in group]), steepest)
        for (row, _), share in zip(group, shares):
            row.values |= {"dead": min(row.values["dead"], share), "slope_known": True}
    _saturate(phi, links)


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


def _steepest(phi: activations.Activation) -> float:
    """The largest slope of φ that units meet; 0 where φ is flat everywhere, as behind a gate of 0."""
    far = torch.logspace(1.0, 6.0, 51, dtype=torch.float64)  # φ may be shifted: relu(z − 100)
    places = torch.cat([-far, torch.linspace(-6.0, 6.0, 241, dtype=torch.float64), far])
    slopes = phi.derivative(places).abs()
    steepest = float(slopes[slopes.isfinite()].amax()) if slopes.isfinite().any() else 0.0
    if steepest == 0.0:
        return 0.0
    # exp and other functions that grow have no steepest slope: near the origin is what units meet
    return min(steepest, max(float(slopes[51:-51].nan_to_num(posinf=0.0).amax()), 1.0))


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


def _saturate(phi: activations.Activation, links: list[Link]) -> None:
    """Fill in the share of saturated entries of every row that holds φ."""
    steepest = _steepest_if_bounded(phi) if links[0].expression.sloped else None
    if steepest is None:
        return
    off = _off(phi, steepest)
    thin = []
    for link in links if links[0].expression.sloped else ():
        row = _row(link)
        if row is not None and link.source.rows is not None:
            thin.append((row, link.source.rows[::2, ::2]))
    for group in alike(thin, lambda pair: (pair[1].shape, pair[1].device)):
        shares = _saturated(phi, torch.stack([z for _, z in group]), steepest, off)
        for (row, _), share in zip(group, shares):
            row.values["saturated"] = share


def _off(phi: activations.Activation, steepest: float) -> tuple[bool, bool]:
    """Whether φ is flat from the origin on, to the left and to the right.

    The negative side of ReLU6 is as off as that of ReLU; saturated is what lies beyond 6.
    """
    slopes = phi.derivative(torch.tensor([-1e-3, 1e-3], dtype=torch.float64)).abs()
    left, right = (slopes < 0.05 * steepest).tolist()
    return left, right


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


def _steepest_if_bounded(phi: activations.Activation) -> float | None:
    """The largest slope of an activation that flattens on both sides, None for the others.

    A unit on the flat side of ReLU is off, not saturated: the word is for tanh, sigmoid and similar functions.
    """
    near = phi.derivative(torch.linspace(-6.0, 6.0, 1201, dtype=torch.float64)).abs()
    far = phi.derivative(torch.tensor([-40.0, -33.3, -21.7, 21.7, 33.3, 40.0], dtype=torch.float64)).abs()
    largest = float(near.max())
    return largest if largest > 0 and float(far.max()) < 0.01 * largest else None
