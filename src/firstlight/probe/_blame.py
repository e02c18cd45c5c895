"""Blame: one sentence for an error inside a pass, with the layer, the batch, and whose fault the error is."""

from __future__ import annotations

import linecache
import traceback
from collections import Counter

from torch import nn

from firstlight.errors import in_one_line
from firstlight.probe.trace.calling import named_tensors

# The calls by which the tracer runs the caller's code: an error that comes out of one is the caller's.
_RUNS = ("func(*args", "func(*self.args", "model(", "module(", "loss(", "autograd.grad(", "apply(")


def raise_interrupt(error: BaseException | None) -> None:
    """Raise the interrupt behind an error, if there is one.

    A Ctrl-C between two steps of torch's own stack of modes makes torch fail on its way out, and that failure would
    hide the interrupt.

    Examples
    --------
    >>> try:
    ...     try:
    ...         raise KeyboardInterrupt
    ...     finally:
    ...         raise RuntimeError("trying to pop from empty mode stack")
    ... except RuntimeError as error:
    ...     try:
    ...         raise_interrupt(error)
    ...     except KeyboardInterrupt:
    ...         print("interrupted")
    interrupted
    """
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            raise error
        error = error.__context__


def failed(error: Exception, place: str, model: nn.Module, batch: object) -> str:
    """The message of an error that came while a model was audited.

    Parameters
    ----------
    error
        What was raised.
    place
        Where the pass was: the path of a module, or a step.
    model, batch
        What was audited, and on what.
    """
    shapes = ", ".join(f"{n} {tuple(t.shape)} {t.dtype} on {t.device}" for n, t in named_tensors(batch))
    return (
        f"while auditing {type(model).__name__}, in {place or 'its forward'}: {in_one_line(error)} "
        f"(input: {shapes}); {_hint(error, model, batch)}"
    )


def _hint(error: Exception, model: nn.Module, batch: object) -> str:
    if is_ours(error):
        return "this is a fault of firstlight, not of the model: please report it with the line above"
    if isinstance(error, RecursionError):
        return "a function of the model calls itself without end: call the model alone to see which"
    parameter = next(model.parameters(), None)
    tensors = [t for _, t in named_tensors(batch)]
    if parameter is not None:
        if any(t.dtype != parameter.dtype for t in tensors if t.is_floating_point()):
            return f"the parameters are {parameter.dtype}: cast the batch, for example batch.to({parameter.dtype})"
        if any(t.device != parameter.device for t in tensors):
            return f"the parameters are on {parameter.device}: move the batch there"
        if "more than 1 value per channel" in str(error):
            return "batch norm needs at least two samples in training mode: pass a larger batch"
    return "check that the batch is what the model takes"


def is_ours(error: BaseException) -> bool:
    """Whether an error began in what the audit computes, and not in what it runs for the caller.

    A recursion that is too deep can end in any frame: then the fault is with the code that called itself.
    """
    frames = [(f, line) for f, line in traceback.walk_tb(error.__traceback__)]
    if isinstance(error, RecursionError):
        calls = Counter(f.f_code for f, _ in frames if _foreign(f.f_globals.get("__name__", "")))
        return not calls or max(calls.values()) < _OFTEN
    if not frames:
        return False
    frame, line = frames[-1]
    if not frame.f_globals.get("__name__", "").startswith(("firstlight.probe.", "firstlight.measure.")):
        return False
    text = linecache.getline(frame.f_code.co_filename, line)
    return not any(call in text for call in _RUNS)


# A function that is called this often inside itself is in a circle.
_OFTEN = 20


def _foreign(module: str) -> bool:
    return module.partition(".")[0] not in ("firstlight", "torch", "contextlib", "functools")
