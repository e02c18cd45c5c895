"""Calling somebody's model: unwrap it, check the batch, feed it, and find a scalar to differentiate."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from firstlight.clean_room import outside
from firstlight.errors import AuditError, user_code
from firstlight.probe.read._whole import carries, whole

Loss = Callable[[Any, Any], Tensor]
# Where a structured output keeps the tensor that a head would be trained on, best first.
_PRIMARY = (
    "logits",
    "last_hidden_state",
    "prediction_logits",
    "start_logits",
    "sample",
    "pred",
    "out",
    "output",
)


def unwrap(model: Any) -> nn.Module:
    """The plain module inside torch.compile and data-parallel wrappers."""
    if not isinstance(model, nn.Module):
        raise AuditError(
            f"while auditing: expected a torch.nn.Module, got {type(model).__name__}; "
            "pass the model itself, not its class, its state_dict or its path"
        )
    wrappers = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    while True:
        if isinstance(model, wrappers):
            model = model.module
        elif isinstance(getattr(model, "_orig_mod", None), nn.Module):
            model = model._orig_mod
        else:
            return model


# Containers in containers that a batch may have; a batch that holds itself has more.
_NESTED = 64


def named_tensors(batch: object, name: str = "input", depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of a batch with a name to show.

    Raises
    ------
    AuditError
        If containers are nested without end.
    """
    if depth > _NESTED:
        raise AuditError(
            f"while auditing: expected a batch of tensors in tuples, lists and mappings, got more than {_NESTED} of "
            "them inside one another; a batch that holds itself has no end"
        )
    if isinstance(batch, Tensor):
        yield name, batch
    elif isinstance(batch, Mapping):
        for key, value in batch.items():
            yield from named_tensors(value, str(key), depth + 1)
    elif isinstance(batch, (tuple, list)):
        for i, value in enumerate(batch):
            yield from named_tensors(value, f"{name}{i}" if len(batch) > 1 else name, depth + 1)


def check_batch(batch: object) -> None:
    """Refuse a batch that can only give wrong numbers."""
    tensors = list(named_tensors(batch))
    if not tensors:
        raise AuditError(
            f"while auditing: expected a batch with at least one tensor, got {type(batch).__name__}; "
            "pass a tensor, or the tuple or dict of tensors that the model takes"
        )
    for name, tensor in tensors:
        if tensor.numel() == 0:
            raise AuditError(
                f"while auditing: input {name!r} of shape {tuple(tensor.shape)} is empty; "
                "pass a batch with at least one sample"
            )
        if carries(tensor) and not tensor.is_meta:
            bad = int((~torch.isfinite(whole(tensor.detach()))).sum())
            if bad and not forbids(tensor):
                raise AuditError(
                    f"while auditing: input {name!r} of shape {tuple(tensor.shape)} has {bad} NaN or infinite "
                    f"entries of {tensor.numel()}; clean the batch, since every number after it would be wrong"
                )


def forbids(tensor: Tensor) -> bool:
    """Whether a tensor is a mask that is added to scores: −∞ where nothing may be seen, one value elsewhere.

    Examples
    --------
    >>> mask = torch.full((3, 3), -torch.inf).triu(1)
    >>> forbids(mask), forbids(mask + torch.randn(3, 3)), forbids(torch.zeros(3))
    (True, False, False)
    """
    if not tensor.is_floating_point() or tensor.is_meta or tensor.layout != torch.strided or tensor.is_nested:
        return False
    entries = whole(tensor.detach())
    low, high = torch.aminmax(entries) if entries.numel() else (0.0, 0.0)
    if float(low) != -torch.inf or not float(high) < torch.inf:
        return False
    seen = entries[entries > -torch.inf]
    return seen.numel() == 0 or float(seen.amin()) == float(seen.amax())


def call(model: nn.Module, batch: object) -> Any:
    """``model(batch)``, ``model(*batch)`` for tuples and lists, ``model(**batch)`` for mappings."""
    if isinstance(batch, Mapping):
        return model(**batch)
    if isinstance(batch, (tuple, list)) and not isinstance(batch, nn.utils.rnn.PackedSequence):
        return model(*batch)
    return model(batch)


def fields(output: object) -> dict[str, Any]:
    """The parts of a structured output by name: mappings, dataclasses, named tuples."""
    if isinstance(output, Mapping):
        return dict(output.items())
    if dataclasses.is_dataclass(output) and not isinstance(output, type):
        return {f.name: getattr(output, f.name) for f in dataclasses.fields(output)}
    if isinstance(output, tuple) and hasattr(output, "_fields"):
        return dict(zip(output._fields, output))
    return {}


def primary_output(output: object) -> Tensor | None:
    """The floating tensor that the model is about: the named logits, else the first one found."""
    if isinstance(output, Tensor):
        return output if carries(output) else None
    parts = fields(output)
    for name in _PRIMARY:
        if isinstance(parts.get(name), Tensor):
            return parts[name]
    for part in parts.values() if parts else (output if isinstance(output, (tuple, list)) else ()):
        found = primary_output(part)
        if found is not None and (found.dim() > 0 or len(parts) <= 1):
            return found
    return None


def scalar_loss(
    output: object, targets: object, loss: Loss | None, generator: torch.Generator
) -> tuple[Tensor, str]:
    """The scalar that is differentiated, and its description.

    In order: the caller's ``loss(output, targets)``; the model's own ``loss`` field; cross-entropy for integer
    targets and squared error for real ones; else the sum of the output times a fixed Gaussian tensor, whose
    gradient at the output has root mean square 1 whatever the output is.

    Raises
    ------
    AuditError
        If the loss does not give one number, or the model gives no tensor that could be differentiated.
    """
    if loss is not None:
        name = getattr(loss, "__name__", type(loss).__name__)
        todo = "no targets were given: pass targets=…, or a loss that needs none"
        if targets is not None:
            todo = "call loss(output, targets) alone to see where"
        with outside(), user_code(f"calling the loss {name}", todo):
            value = loss(output, targets)
        if not isinstance(value, Tensor) or value.numel() != 1:
            raise AuditError(
                f"while auditing: expected the loss to return one number as a tensor, got {_describe(value)}; "
                "reduce it with .mean() or .sum()"
            )
        return value.reshape(()), name
    own = fields(output).get("loss")
    if isinstance(own, Tensor) and own.numel() == 1:
        return own.reshape(()), "the model's own loss"
    main = primary_output(output)
    main = main if main is None else whole(main)
    if main is None:
        raise AuditError(
            f"while auditing: expected the model to return a floating-point tensor (alone or in a tuple, list, "
            f"dict or dataclass), got {_describe(output)}; pass loss=… to say what to differentiate"
        )
    if targets is not None:
        return _supervised(main, targets)
    direction = torch.randn(main.shape, generator=generator, dtype=torch.float32).to(main.device)
    return (main.float() * direction).sum(), "random Gaussian direction"


def _supervised(output: Tensor, targets: object) -> tuple[Tensor, str]:
    if not isinstance(targets, Tensor):
        try:
            targets = torch.as_tensor(targets)
        except (TypeError, ValueError, RuntimeError) as error:
            raise AuditError(
                f"while auditing: expected targets that are numbers, got {_describe(targets)} ({error}); pass a tensor "
                "or an array, or loss=… to say what is done with them"
            ) from error
    targets = targets.to(output.device)
    try:
        if targets.is_floating_point():
            return F.mse_loss(output.float(), targets.float().reshape(output.shape)), "mean squared error"
        if output.dim() > 2 and output.shape[:-1] == targets.shape:
            output, targets = output.flatten(0, -2), targets.flatten()
        return F.cross_entropy(output.float(), targets), "cross-entropy"
    except (RuntimeError, ValueError, IndexError) as error:
        raise AuditError(
            f"while auditing: the default loss does not fit an output of shape {tuple(output.shape)} and "
            f"targets of shape {tuple(targets.shape)} ({error}); pass loss=…, or no targets"
        ) from error


def _describe(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a {value.dtype} tensor of shape {tuple(value.shape)}"
    return "None" if value is None else type(value).__name__
