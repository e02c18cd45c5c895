"""Structure: the forward pass alone of any model, its rows, what feeds what, and the activations as functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from torch import Tensor, nn

from firstlight.clean_room import clean
from firstlight.errors import AuditError
from firstlight.probe._rows import links, meta_rows, to_profile
from firstlight.probe.given import first_batch
from firstlight.probe.guard import Guard, fresh, untouched
from firstlight.probe.probe import eager, facts, traced
from firstlight.probe.protocol import Protocol
from firstlight.probe.read.reader import Budget, Reader
from firstlight.probe.trace._backward import Backward
from firstlight.probe.trace._ledger import Ledger
from firstlight.probe.trace.calling import check_batch, unwrap
from firstlight.profile import Profile

_BUDGET = Budget(entries=2**12, samples=8, units=32, spectrum=4)


@dataclass(frozen=True, eq=False)
class Structure:
    """What one forward pass shows of how a model is built.

    Attributes
    ----------
    profile
        One row per measured call, in the order of execution; gradients are missing.
    links
        For every row the numbers of the rows that it was computed from, a sum's stream first.
    functions
        φ of every activation row that theory can replay, as a function of one tensor.
    scales
        The constant inside φ, for rows that have one: 1/β where the model computes φ(z/β).
    factors
        For rows that read another row times a constant, as a sum α·stream + branch does, the constant by the number of
        the row that is read.
    """

    profile: Profile
    links: tuple[tuple[int, ...], ...]
    functions: Mapping[int, Callable[[Tensor], Tensor]]
    scales: Mapping[int, float] = field(default_factory=dict)
    factors: Mapping[int, Mapping[int, float]] = field(default_factory=dict)


@clean
def structure(model: nn.Module, batch: object, *, training: bool | None = True, seed: int = 0) -> Structure:
    """The rows of one forward pass and how they hang together; no backward pass, and no trace is left.

    Parameters
    ----------
    model, batch, training, seed
        As for `probe`.

    Raises
    ------
    AuditError
        If the model or the batch cannot be used, or parameters have no data.

    Examples
    --------
    >>> import torch
    >>> from firstlight.probe import structure
    >>> net = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 4))
    >>> found = structure(net, torch.randn(32, 8))
    >>> found.links, list(found.functions)
    (((), (0,), (1,), (2,)), [2])
    """
    net = unwrap(model)
    batch, protocol = first_batch(batch, Protocol(training=training, seed=seed, budget=_BUDGET))
    check_batch(batch)
    if meta_rows(net) is not None:
        raise AuditError(
            f"while tracing {type(net).__name__}: expected parameters with data, got meta or lazy ones; move the model "
            "to a device with to_empty, or run one batch first"
        )
    with untouched(net, training=training, seed=seed, others={"the batch": batch}) as guard, eager():
        found: Structure = guard.shield.run(partial(_seen, guard, net, batch, protocol))
    return found


def _seen(guard: Guard, net: nn.Module, batch: object, protocol: Protocol) -> Structure:
    reader = Reader(_BUDGET)
    ledger = Ledger(net, reader, Backward())
    traced(ledger, guard, net, fresh(batch), type(net).__name__)
    reader.finish()
    profile = to_profile(ledger, facts(net, type(net).__name__, batch, protocol), [], [])
    functions = {
        site.index: site.inputs[0].expression.apply
        for site in ledger.sites
        if site.kind == "activation" and len(site.inputs) == 1
    }
    scales = {
        site.index: site.inputs[0].expression.scale
        for site in ledger.sites
        if site.index in functions and site.inputs[0].expression.scale not in (0.0, 1.0)
    }
    factors: dict[int, dict[int, float]] = {}
    for site in ledger.sites:
        for link in site.inputs:
            if link.expression.scaled and link.expression.steps and not link.expression.learned:
                factors.setdefault(site.index, {})[link.source.index] = link.expression.factor
    return Structure(profile, links(ledger.sites), functions, scales, factors)
