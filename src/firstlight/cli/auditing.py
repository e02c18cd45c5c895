"""What the verbs ``audit`` and ``fix`` share: the loss, the mode, paths that can be written, clean output."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from firstlight.cli.batches import beside, load_data, to_device
from firstlight.cli.models import build_model, describe_model
from firstlight.data import locate
from firstlight.errors import LoadError

STDOUT = "-"


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """What is differentiated, and the mode the model is in."""
    group = parser.add_argument_group("what is measured")
    group.add_argument(
        "--loss",
        default="auto",
        help="what is differentiated: auto (cross-entropy for classes, squared error for numbers, else a "
        "random direction), cross-entropy, mse, none (a random direction of the output), or "
        "`module:function` of output and targets (default: auto)",
    )
    mode = group.add_mutually_exclusive_group()
    mode.add_argument(
        "--train", dest="training", action="store_true", default=True, help="training mode (default)"
    )
    mode.add_argument("--eval", dest="training", action="store_false", help="evaluation mode")


def subject(args: argparse.Namespace) -> tuple[nn.Module, Any, dict[str, Any]]:
    """The model, the batch, and the keywords that ``audit`` and ``fix`` share, from the seed of the arguments."""
    torch.manual_seed(args.seed)
    data = load_data(args)
    model = build_model(args, data)
    targets, loss = objective(args.loss, data.targets)
    keywords = {
        "targets": to_device(model, targets),
        "loss": loss,
        "training": args.training,
        "seed": args.seed,
        "name": describe_model(args),
    }
    return model, beside(model, data.inputs), keywords


def encodable(text: str, out: Any) -> str:
    """A JSON text that survives the stream's encoding: escaped where that is not UTF-8."""
    encoding = (getattr(out, "encoding", None) or "utf-8").lower().replace("-", "").replace("_", "")
    return text if encoding == "utf8" else json.dumps(json.loads(text))


@contextlib.contextmanager
def own_output_only() -> Iterator[Any]:
    """Give our own results standard output; what a user's code prints goes to standard error.

    So ``--json -`` can be piped whatever a model prints while it is made or run.
    """
    out = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        yield out


def check_paths(paths: dict[str, str | None]) -> None:
    """Refuse a file that cannot be written before the work is done, not after; keys are the flags."""
    given = {flag: path for flag, path in paths.items() if path is not None}
    files: dict[Path, str] = {}
    for flag, path in given.items():
        if flag == "--json" and path == STDOUT:
            continue
        folder = Path(path).expanduser().resolve().parent
        reason = None
        if not path or Path(path).is_dir():
            reason = "a folder" if path else "an empty path"
        elif not folder.is_dir():
            reason = f"no folder {folder}"
        elif not os.access(folder, os.W_OK) and not os.access(path, os.W_OK):
            reason = f"no right to write in {folder}"
        if reason is not None:
            raise LoadError(
                f"while checking {flag} {path}: expected a path for a file, in a folder that exists and can "
                f"be written to, got {reason}; nothing was run"
            )
        other = files.setdefault(Path(path).resolve(), flag)
        if other != flag:
            raise LoadError(
                f"while checking {other} and {flag}: expected two files, got {path} twice; nothing was run"
            )


def objective(name: str, targets: Tensor | None) -> tuple[Tensor | None, Callable[[Any, Any], Tensor] | None]:
    """Targets and loss to audit with; both None for a random direction of the output."""
    if name == "auto":
        return targets, None
    if name == "none":
        return None, None
    losses: dict[str, Callable[..., Tensor]] = {
        "cross-entropy": functional.cross_entropy,
        "mse": functional.mse_loss,
    }
    if name in losses:
        if targets is None:
            raise LoadError(
                f"while choosing the loss {name}: expected data with targets, got none; "
                "give other data, or --loss none for a random direction of the output"
            )
        return targets, losses[name]
    if ":" not in name:
        raise LoadError(
            "while choosing the loss: expected auto, cross-entropy, mse, none or `module:function`, got "
            f"{name!r}"
        )
    loss = locate(name, what="loss")
    if not callable(loss):
        raise LoadError(f"while choosing the loss {name!r}: expected a function, got {type(loss).__name__}")
    # a loss class such as torch.nn:CrossEntropyLoss is made first
    return targets, loss() if isinstance(loss, type) else loss
