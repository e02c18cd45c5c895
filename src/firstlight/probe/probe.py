"""probe: one traced forward and one backward of any model, and a profile of what happened."""

from __future__ import annotations

import math
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from firstlight.clean_room import clean, kept, outside
from firstlight.errors import AuditError
from firstlight.files.plain_data import Record
from firstlight.probe._blame import failed, raise_interrupt
from firstlight.probe._covered import coverage_of, unregistered
from firstlight.probe._gradients import copies, differentiate, parameter_gradients, shared
from firstlight.probe._objective import Heeded, sizes
from firstlight.probe._rows import last_step, links, meta_rows, to_profile
from firstlight.probe.coverage import Coverage
from firstlight.probe.given import alone, first_batch
from firstlight.probe.graph._site import Origin
from firstlight.probe.guard import LIMIT, Guard, fresh, untouched
from firstlight.probe.local._blocks import add_blocks
from firstlight.probe.local._theory import add_theory
from firstlight.probe.measurement import Measurement, Skipped
from firstlight.probe.protocol import Protocol
from firstlight.probe.read._representation import measure_representations
from firstlight.probe.read._whole import carries, shape_of
from firstlight.probe.read.reader import Budget, Reader
from firstlight.probe.trace._backward import Backward
from firstlight.probe.trace._checkpoint import unrolled
from firstlight.probe.trace._ledger import Ledger
from firstlight.probe.trace._modules import Modules
from firstlight.probe.trace._time import measure_time, spectral_radius
from firstlight.probe.trace._tracer import Tracer
from firstlight.probe.trace.calling import (
    Loss,
    call,
    check_batch,
    forbids,
    named_tensors,
    primary_output,
    unwrap,
)


def probe(
    model: nn.Module,
    batch: object,
    targets: object = None,
    *,
    loss: Loss | str | None = None,
    training: bool | None = True,
    seed: int = 0,
    budget: Budget | None = None,
    name: str | None = None,
) -> Measurement:
    """Measure every layer of a model in one forward and one backward pass, and leave no trace.

    Parameters
    ----------
    model
        Any module; wrappers of ``torch.compile`` and data parallelism are opened.
    batch
        A tensor, or the tuple (called as ``model(*batch)``) or mapping (``model(**batch)``) the model takes; of a
        DataLoader, a data set or an iterator the first batch is taken, with its targets.
    targets, loss
        What to differentiate: ``loss(output, targets)``, or with targets alone cross-entropy (integers) or
        squared error (reals); without either, the output times a fixed Gaussian tensor.
    training
        The mode to measure in; None keeps the mode each module is in. Training is how an optimiser will see
        the network: batch norm uses the batch, dropout is on.
    seed
        Seeds dropout and the Gaussian direction; the callers' generators are not moved.
    budget
        How many entries, samples and units are read of each tensor.
    name
        What reports call the model; its class if not given.

    Returns
    -------
    Measurement
        One row per call of a weight layer, normaliser, activation, residual sum, attention, embedding or
        recurrent layer, with theory beside it.

    Raises
    ------
    AuditError
        If the model or the batch cannot be used: the message names the layer that was running.

    Examples
    --------
    >>> import torch
    >>> from firstlight.probe import probe
    >>> net = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 4))
    >>> list(probe(net, torch.randn(32, 8)).profile["kind"])
    ['input', 'weight', 'activation', 'weight']
    """
    return measure(model, batch, Protocol(targets, loss, training, seed, budget), name=name)


@clean
def measure(model: nn.Module, batch: object, protocol: Protocol, *, name: str | None = None) -> Measurement:
    """The measurement of `probe`, with the protocol as one object.

    Raises
    ------
    AuditError
        As `probe` does.
    """
    start = time.perf_counter()
    given = type(model).__name__
    net = unwrap(model)
    batch, protocol = first_batch(batch, protocol)
    check_batch(batch)
    meta = facts(net, given, batch, protocol)
    if name is not None:
        meta["model"] = name
    missing = meta_rows(net)
    if missing is not None:
        return Measurement(
            missing,
            {},
            (Skipped(given, "parameters without data (meta or lazy): nothing can be run"),),
            (),
            meta,
            Coverage(blocked="parameters have no data (meta or lazy), so nothing was run"),
        )
    others = {"the batch": batch, "the targets": protocol.targets, "the loss": protocol.loss}
    with untouched(net, training=protocol.training, seed=protocol.seed, others=others) as guard, eager():
        found = guard.shield.run(partial(_measured, guard, net, batch, protocol, meta))
    meta["seconds"] = time.perf_counter() - start
    return found


def _measured(guard: Guard, net: nn.Module, batch: Any, protocol: Protocol, meta: Record) -> Measurement:
    """What is measured while a guard holds the model: forward, loss, backward, statistics, theory."""
    given = meta["model"]
    reader = Reader(protocol.budget or Budget())
    first = [m for m in net.modules() if isinstance(m, nn.MultiheadAttention)]
    reader.token_axis = 0 if first and not any(m.batch_first for m in first) else 1
    notes = [protocol.note] if protocol.note else []
    ledger = Ledger(net, reader, Backward())
    output, refused = traced(ledger, guard, net, fresh(batch), given)
    end = ledger.end(primary_output(output))
    meta["output"] = end.name if end is not None else ""
    protocol = replace(protocol, targets=fresh(protocol.targets))
    heeded = Heeded(ledger)
    value, meta["loss"] = _differentiable(output, protocol, guard, heeded)
    reader.finish()
    measure_representations(ledger.sites, protocol.measures, protocol.targets, reader.budget.samples)
    blocked = _DETACHED if value is None else _backward(ledger, value, guard, net, batch)
    meta["unregistered"] = unregistered(net, output, ledger.backward.strangers)
    if value is not None:
        meta["loss_value"] = float(value.detach())
        meta |= sizes(output, protocol.targets, value, last_step(end), meta["loss"])
        meta |= heeded.misfit if "misfit" not in meta and "loss_kind" not in meta else {}
        if math.isnan(meta["loss_value"]):
            notes.append("the loss is NaN, so the gradients are")
    if blocked:
        notes.append(blocked)
    if guard.walk.cut:
        notes.append(f"the model leads to more than {LIMIT} objects: those beyond are not guarded")
    # replayed functions may be anybody's: they too run where everything is put back
    theory = add_theory(ledger.sites, ledger.bases)
    if found := add_blocks(net, ledger.sites, reader.streams, protocol.seed):
        meta["blocks"] = found
    last = reader.chosen(primary_output(output))
    meta["choices"] = {name: top for name, top in reader.choices.items() if name != last}
    meta["time"] = _times(ledger, protocol.seed)
    gradients = parameter_gradients(ledger, own=protocol.targets is not None or protocol.loss is not None)
    meta["derivatives"] = ledger.backward.derivatives
    meta["mixed"] = {
        place: [list(before), list(after)] for place, (before, after) in ledger.samples.mixed.items()
    }
    meta["beside"] = {ledger.sites[row].name: size for row, size in ledger.samples.beside.items()}
    meta["dropouts"] = [[site.name, p, entries] for site, p, entries in ledger.dropouts]
    # a network that reads time first gives time first, or one row for each sequence
    given = primary_output(output)
    if isinstance(given, Tensor) and given.dim() in (1, 2) and given.shape[0] == ledger.samples.count:
        meta["placed"] = {place: [list(a), list(b)] for place, (a, b) in ledger.samples.placed.items()}
        meta["weighed"] = {place: list(shape) for place, shape in ledger.samples.weighed.items()}
        meta["along"] = {place: [list(shape), axis] for place, (shape, axis) in ledger.samples.along.items()}
    meta["copies"], meta["shared"] = copies(ledger), shared(net)
    meta["steps"] = sorted(set().union(*ledger.unmeasured.values()))
    skipped = [Skipped(path or given, "scripted: its inner calls cannot be followed") for path in refused]
    skipped += theory
    profile = to_profile(ledger, meta, notes, skipped)
    coverage = coverage_of(ledger, net, blocked, tuple(refused))
    return Measurement(
        profile,
        reader.samples,
        tuple(skipped),
        tuple(notes),
        meta,
        coverage,
        gradients,
        links(ledger.sites),
    )


def _times(ledger: Ledger, seed: int) -> dict[str, Record]:
    """What each recurrent layer, and each layer that is called again and again, remembers of its earlier steps.

    A layer that cannot run again is left out.
    """
    found: dict[str, dict[str, object]] = {}
    for layer in ledger.recurrent:
        try:
            logs = measure_time(layer, seed)
        except (RuntimeError, TypeError, ValueError):
            continue
        if logs:
            radius = spectral_radius(layer.matrices, seed)
            heard = ledger.backward.heard.get(layer.site, math.nan)
            found[layer.site.name] = {
                "steps": layer.steps,
                "logs": logs,
                "spectral_radius": radius,
                "heard": heard,
            }
    if ledger.backward.done and ledger.loops.repeatable():
        for name, logs in ledger.loops.jacobian(seed).items():
            radius = spectral_radius(ledger.loops.weights(name), seed)
            found[name] = {"steps": len(logs), "logs": logs, "spectral_radius": radius, "calls": True}
    return found


def traced(
    ledger: Ledger, guard: Guard, model: nn.Module, batch: object, given: str
) -> tuple[Any, list[str]]:
    """The model's output, and the paths of the modules that could not be followed."""
    modules = Modules(ledger)
    refused = modules.hook(model)
    sample = alone(model, batch)
    try:
        output = _forward(Tracer(ledger, modules), guard, model, batch)
    except AuditError as error:
        if sample is not None:
            raise AuditError(sample.text) from error
        raise
    modules.close()
    if sample is not None and sample.taken(ledger.sites):
        raise AuditError(sample.text)
    _scripted(refused, ledger, given)
    return output, refused


def _scripted(refused: list[str], ledger: Ledger, given: str) -> None:
    """Take parameters that nobody could watch as used, and refuse a model that shows nothing at all."""
    inside = tuple(f"{path}." if path else "" for path in refused)
    ledger.used.update(name for name in ledger.parameters if name.startswith(inside))
    if refused and all(site.kind == "input" for site in ledger.sites):
        raise AuditError(
            f"while auditing {given}: expected operations that can be followed, got a scripted model, "
            "whose calls cannot be; audit the model that it was scripted from"
        )


def facts(model: nn.Module, name: str, batch: object, protocol: Protocol) -> Record:
    """What a result says of the model and the batch."""
    parameters = list(model.parameters())
    tensors = dict(named_tensors(batch))
    first = parameters[0] if parameters else next(iter(tensors.values()))
    return {
        "model": name if name == type(model).__name__ else f"{type(model).__name__} in {name}",
        "parameters": sum(p.numel() for p in parameters if not nn.parameter.is_lazy(p)),
        "batch": {key: list(shape_of(t)) for key, t in tensors.items()},
        "dtype": str(first.dtype).removeprefix("torch."),
        "device": str(first.device),
        "training": protocol.training,
        "seed": protocol.seed,
        "torch": torch.__version__,
        "loss": "",
    }


def eager() -> AbstractContextManager[Any]:
    """Run compiled parts as the Python they were made from, so that their steps can be seen.

    A program that compiles has loaded the compiler already; for other programs the import would cost seconds.
    """
    if "torch._dynamo" not in sys.modules:
        return nullcontext()
    return torch.compiler.set_stance("force_eager")


def _forward(tracer: Tracer, guard: Guard, model: nn.Module, batch: object) -> Any:
    try:
        tracer.ledger.samples.enter(tensor for _, tensor in named_tensors(batch))
        for name, tensor in named_tensors(batch):
            if forbids(tensor):
                continue  # what it adds to is measured, and −∞ is meant there
            if carries(tensor):
                tracer.ledger.enter_input(tensor, name)
            else:
                tracer.ledger.origins.put(tensor, Origin(quiet=True, pending=name))
        with outside(), guard.watching(), unrolled(), tracer:
            output = call(model, batch)
        tracer.ledger.leave_output(output)
        return output
    except AuditError:
        raise
    except Exception as error:
        raise_interrupt(error)
        raise AuditError(failed(error, tracer.ledger.place, model, batch)) from error


def _differentiable(
    output: object, protocol: Protocol, guard: Guard, heeded: Heeded
) -> tuple[Tensor | None, str]:
    with kept(), guard.watching(), heeded:
        value, description = protocol.objective(output)
    if value.requires_grad:
        return value, description
    return None, f"{description} (not differentiable)"


_DETACHED = (
    "no backward pass: the output does not depend on anything that takes a gradient "
    "(detached, no_grad, integer or inference-mode output)"
)


def _backward(ledger: Ledger, value: Tensor, guard: Guard, model: nn.Module, batch: object) -> str:
    """Run the backward pass; returns why there is none, or an empty text."""
    try:
        return differentiate(ledger, value, guard.watching)
    except AuditError:
        raise
    except Exception as error:
        raise AuditError(failed(error, "the backward pass", model, batch)) from error
