"""State dicts as files: the suffixes that a verb writes, and the bytes of each."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path

import torch
from torch import nn

from firstlight.errors import LoadError

SUFFIXES = (".pt", ".pth", ".safetensors")


def check_suffix(path: str | None) -> None:
    """Refuse a path for a state dict that no format of ours has, before anything is run.

    Raises
    ------
    LoadError
        Another suffix, or safetensors where it is not installed.
    """
    if path is not None and Path(path).suffix not in SUFFIXES:
        raise LoadError(
            f"while checking --out {path}: expected a file that ends in {', '.join(SUFFIXES)}, got "
            f"{Path(path).suffix or 'no suffix'}; nothing was run"
        )
    if path is not None and path.endswith(".safetensors") and importlib.util.find_spec("safetensors") is None:
        raise LoadError(
            f"while checking --out {path}: safetensors is not installed; `pip install safetensors`, or give a .pt path"
        )


def state_bytes(model: nn.Module, suffix: str) -> bytes:
    """The state dict, on the CPU, as a file holds it."""
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    if suffix == ".safetensors":
        from safetensors.torch import save

        # tied parameters are one storage, which that format refuses: each name gets its own copy
        return save({name: value.clone() for name, value in state.items()})
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()
