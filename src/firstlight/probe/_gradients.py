"""The one backward pass, and what every parameter received in it."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from firstlight.clean_room import kept
from firstlight.errors import in_one_line
from firstlight.probe._covered import leaves_of
from firstlight.probe._rows import sources
from firstlight.probe.graph._site import Site
from firstlight.probe.guard.nodes import Node
from firstlight.probe.measurement import GradientState, ParameterGradient
from firstlight.probe.trace._backward import narrow_nodes
from firstlight.probe.trace._cuts import cuts_by_itself, is_zero, steps_of
from firstlight.probe.trace._ledger import Ledger

# Entries of a matrix that are looked at before all of them are.
_SOME = 64


def differentiate(
    ledger: Ledger, value: Tensor, watching: Callable[[Node], AbstractContextManager[None]]
) -> str:
    """Run the backward pass of a traced forward; returns why there is none, or an empty text."""
    leaves, own = leaves_of(value), {id(leaf) for leaf in ledger.leaves}
    ledger.used |= {ledger.parameter_names[id(leaf)] for leaf in leaves if id(leaf) in ledger.parameter_names}
    ledger.backward.strangers = [
        leaf for leaf in leaves if id(leaf) not in own and ledger.origin(leaf) is None
    ]
    named = [(n, p) for n, p in ledger.parameters.items() if p.requires_grad]
    wanted = [p for _, p in named] + ledger.leaves
    if not wanted:
        return "no backward pass: no parameter takes a gradient"
    root = value.grad_fn
    if root is None:
        return "no backward pass: the loss is itself a parameter"
    backward = ledger.backward
    removers: list[Callable[[], None]] = []
    try:
        backward.suspects = _suspects(ledger)
        removers.append(backward.begin(value))
        removers += [backward.watch_parameter(n, p) for n, p in named]
        # half precision has no room for four nodes between two looks
        step = 1 if any(p.dtype.itemsize < 4 for p in wanted) else 4
        removers += [backward.guard(node) for node in narrow_nodes(root)[::step]]
        steps = steps_of(root)
        backward.chosen = ledger.picks.reaching({*steps, root})
        backward.lost = ledger.picks.lost.reaching({*steps, root})
        backward.derivatives = ledger.picks.derivatives.reaching({*steps, root})
        if _doubtful(ledger, steps):
            removers += backward.cuts.watch(steps)
        again = ledger.loops.repeatable()
        backward.running = True
        with kept(), watching(root):
            torch.autograd.grad(value, wanted, allow_unused=True, retain_graph=again)
        backward.done = True
    except RuntimeError as error:
        return f"the backward pass failed ({in_one_line(error)}); gradients below it are missing"
    finally:
        backward.running = False
        for remove in removers:
            remove()
    return ""


def _suspects(ledger: Ledger) -> dict[str, Tensor]:
    """Weights with equal units, whose gradients tell whether the units stay equal."""
    found: dict[str, Tensor] = {}
    for site in ledger.sites:
        flags = site.weight.values.get("weight_flags", "") if site.weight is not None else ""
        if "cloned" in flags or "constant" in flags:
            assert site.weight is not None
            found |= {
                n: p for n, p in ledger.parameters.items() if any(p is q for q in site.weight.parameters)
            }
    return found


def _doubtful(ledger: Ledger, steps: list[Node]) -> bool:
    """Whether a zero may stand on the way of the gradient, so that every step is worth a look.

    A zero factor, a row of zeros, units that are the same on every sample, and functions without a slope.
    """
    for site in ledger.sites:
        if site.values.get("q") == 0.0 or site.values.get("dead") == 1.0:
            return True
    if any(_factor(n) and n in ledger.used and is_zero(ledger.value(n)) for n in ledger.parameters):
        return True
    return any(cuts_by_itself(node) for node in steps)


def _factor(name: str) -> bool:
    """Whether a parameter multiplies, by its name: a bias of zero stops nothing."""
    last = name.rpartition(".")[2]
    return "bias" not in last and last != "beta"


def parameter_gradients(ledger: Ledger, *, own: bool = False) -> dict[str, ParameterGradient]:
    """What every parameter received, by name; empty where no backward pass was made.

    Parameters
    ----------
    ledger
        The forward and the backward that were traced.
    own
        Whether the loss is the caller's, so that what the loss leaves out is left out in training too.
    """
    backward = ledger.backward
    if not backward.done:
        return {}
    logs = backward.log_squares
    moving = {name for name, log in logs.items() if log != -math.inf}
    names = {id(p): name for name, p in ledger.parameters.items()}
    causes = backward.cuts.explain(names, moving) if backward.cuts.watching else {}
    rows: dict[str, list[Site]] = {}
    for site in ledger.sites:
        for name in {*site.learned, *(site.weight.names if site.weight is not None else ())}:
            rows.setdefault(name, []).append(site)
    reached = _above(ledger.sites, {s.index for s in ledger.sites if not math.isnan(s.log_square)})
    shown, chosen, lost = (
        _and_above(ledger.sites, {site.index for site in below})
        for below in (ledger.outputs, backward.chosen, backward.lost)
    )
    picks = ledger.picks
    told, read, written = (
        _and_above(ledger.sites, own) for own in (picks.numbers, picks.told, picks.written)
    )
    broken = max((s.index for s in ledger.sites if s.kind == "weight" and not s.parents), default=-1)
    if any(name not in rows and _factor(name) for name in moving):
        broken = len(ledger.sites)  # what reads such a parameter was not seen, so its source was not either
    found: dict[str, ParameterGradient] = {}
    for name, parameter in ledger.parameters.items():
        state, cause = _state(name, parameter, ledger), causes.get(name, "")
        if state == "absent":
            at = {site.index for site in rows.get(name, ())}
            # gone: nothing that was seen reads the row, and a later layer reads what came from nowhere
            gone = bool(at) and not at & shown and max(at) < broken
            looked_up = any(site.kind == "embedding" for site in rows.get(name, ()))
            chooses = bool(at & chosen) and not at & (reached if own else reached | shown)
            cause = "index" if chooses else ("code" if looked_up else "cut") if at & reached or gone else ""
            if not cause and (at & read or (at & told and not at & shown)):
                cause = "number"
            if not cause and (at & lost or (at & written and not at & shown)):
                cause = "cut"
            if not cause and own and at & shown:
                cause = "loss"
        if state == "zero" and rows.get(name) and all("fault" in s.values for s in rows[name]):
            cause = "empty"
        found[name] = ParameterGradient(
            state,
            parameter.numel(),
            0.5 * logs.get(name, math.nan),
            zero=_factor(name)
            and parameter.dim() > 0
            and name in ledger.used
            and is_zero(ledger.value(name)),
            bias=not _factor(name),
            cause=cause if state in ("zero", "absent") else "",
        )
    return found


def _state(name: str, parameter: Tensor, ledger: Ledger) -> GradientState:
    if not parameter.requires_grad:
        return "frozen"
    if name not in ledger.backward.log_squares:
        return "absent" if name in ledger.used else "unused"
    log = ledger.backward.log_squares[name]
    if math.isnan(log) or log == math.inf:
        return "non-finite"
    return "zero" if log == -math.inf else "finite"


def _and_above(sites: list[Site], rows: Collection[int]) -> set[int]:
    """These rows' numbers, and those of the rows from which these rows were computed."""
    return {*rows} | _above(sites, rows)


def _above(sites: list[Site], wanted: Collection[int]) -> set[int]:
    """Numbers of the rows from which the rows with these numbers were computed."""
    found: set[int] = set()
    for site in reversed(sites):
        if site.index in found or site.index in wanted:
            found.update(source.index for source in sources(site))
    return found


def copies(ledger: Ledger) -> list[list[str]]:
    """Names of the matrices that are trained and start as exact copies of one another, in groups."""
    groups: dict[tuple[object, ...], list[tuple[str, Tensor]]] = {}
    for name, p in ledger.parameters.items():
        matrix = sum(size > 1 for size in p.shape) > 1
        if matrix and p.numel() and p.requires_grad and name in ledger.used:
            entries = ledger.value(name)
            flat = entries.reshape(-1)
            some = tuple(flat[:: -(-flat.numel() // _SOME)].tolist())
            # drawn entries differ; an identity, a ladder of decays and the like repeat theirs, and are a design
            if len(set(some)) > 0.6 * len(some):
                groups.setdefault((p.shape, some), []).append((name, entries))
    found = []
    for members in groups.values():
        first = members[0][1]
        equal = [name for name, p in members if torch.equal(p, first)]
        if len(equal) > 1:
            found.append(equal)
    return found


def shared(model: nn.Module) -> list[list[str]]:
    """Paths of each module with parameters of its own that is registered in several places, in groups."""
    places: dict[int, list[str]] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        if module._parameters and not isinstance(module, nn.Embedding):
            places.setdefault(id(module), []).append(path)
    return [paths for paths in places.values() if len(paths) > 1]
