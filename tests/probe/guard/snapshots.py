"""Everything a model and a process are made of, as plain values that can be compared: written apart from the guard."""

import os
import random
import sys
import types
import warnings
from collections import deque

import numpy as np
import torch
from torch import Tensor, nn

ATOMS = (int, float, str, bytes, bool, type(None), torch.dtype, torch.device)


def content(tensor):
    if tensor.is_meta or nn.parameter.is_lazy(tensor):
        return "no data"
    plain = tensor.detach()
    plain = plain.to_dense() if plain.layout != torch.strided else plain
    return plain.contiguous().view(-1).view(torch.uint8).numpy().tobytes() if plain.numel() else b""


def value(thing, seen=frozenset(), depth=0):
    """A thing as nested tuples: what it holds, and which object it is."""
    if isinstance(thing, ATOMS):
        return thing
    if id(thing) in seen or depth > 7:
        return "…"
    seen = seen | {id(thing)}

    def inner(part):
        return value(part, seen, depth + 1)

    if isinstance(thing, Tensor):
        return (
            *(id(thing), tuple(thing.shape), str(thing.dtype), thing.requires_grad, thing.is_leaf),
            *(content(thing), tuple(sorted(vars(thing)))),
        )
    if isinstance(thing, np.ndarray):
        return id(thing), thing.tobytes()
    if isinstance(thing, torch.Generator):
        return thing.get_state().numpy().tobytes()
    if isinstance(thing, np.random.Generator):
        return str(thing.bit_generator.state)
    if isinstance(thing, (np.random.RandomState)):
        return str(thing.get_state())
    if isinstance(thing, random.Random):
        return thing.getstate()
    if isinstance(thing, dict):
        return type(thing).__name__, id(thing), tuple((str(k), inner(v)) for k, v in thing.items())
    if isinstance(thing, (list, tuple, deque)):
        return type(thing).__name__, id(thing), tuple(map(inner, thing))
    if isinstance(thing, (set, frozenset)):
        return tuple(sorted(map(str, thing)))
    if isinstance(thing, (bytearray, memoryview)):
        return bytes(thing)
    if isinstance(thing, (nn.Module, types.FunctionType, types.MethodType, type)):
        return id(thing)
    if hasattr(thing, "__dict__"):
        return type(thing).__name__, id(thing), inner(vars(thing))
    return type(thing).__name__, id(thing)


def process():
    """What is the whole process's, generators first: what is measured under the typing hook may draw."""
    c = torch._C
    hooks = vars(nn.modules.module)
    return {
        "torch's generator": torch.get_rng_state().numpy().tobytes(),
        "numpy's generator": str(np.random.get_state()),  # noqa: NPY002
        "default dtype": torch.get_default_dtype(),
        "default device": str(torch.get_default_device()),
        "deterministic": (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        ),
        "threads": torch.get_num_threads(),
        "grad": (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_anomaly_enabled()),
        "autocast": (torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")),
        "modes": (c._len_torch_function_stack(), c._len_torch_dispatch_stack()),
        "functions on": c._is_torch_function_enabled(),
        "precision": torch.get_float32_matmul_precision(),
        "global hooks": [
            len(v) for n, v in hooks.items() if n.startswith("_global_") and hasattr(v, "__len__")
        ],
        "checkpoints": torch.utils.checkpoint.CheckpointFunction,
        "filters": len(warnings.filters),
        "environment": (os.getcwd(), tuple(sys.path), tuple(os.environ.items())),
        "recursion": sys.getrecursionlimit(),
    }


def tensors_of(batch):
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, dict):
        yield from (t for v in batch.values() for t in tensors_of(v))
    elif isinstance(batch, (tuple, list)):
        yield from (t for v in batch for t in tensors_of(v))


def snapshot(model, *batches, versions=False):
    """Everything by name: of the process, of the model, of the batches."""
    found = process()
    named = [*model.named_parameters(), *model.named_buffers()]
    named += [(f"batch {i}", t) for i, t in enumerate(tensors_of(batches))]
    for name, tensor in named:
        found[name] = value(tensor)
        found[f"gradient of {name}"] = value(tensor.grad) if tensor.is_leaf else None
        found[f"hooks on {name}"] = [
            list(hooks or ()) for hooks in (tensor._backward_hooks, tensor._post_accumulate_grad_hooks)
        ]
        if versions:
            found[f"version of {name}"] = tensor._version
    for name, module in model.named_modules():
        found[f"class of {name}"] = type(module)
        found |= {f"{name}.{key}": value(held) for key, held in vars(module).items()}
    return found


def differences(before, after):
    """Names of what is not as it was."""
    return [name for name in {**before, **after} if before.get(name, ...) != after.get(name, ...)]
