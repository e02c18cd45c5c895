"""What the verbs ``audit`` and ``fix`` share: the loss, the mode, paths that can be written, clean output."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO

import torch
from torch import Tensor, nn

from firstlight.cli.batches import beside, load_data, to_device
from firstlight.cli.models import build_model, describe_model
from firstlight.data import locate
from firstlight.errors import LoadError, user_code
from firstlight.probe.protocol import LOSSES, named_loss


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


def subject(args: argparse.Namespace) -> tuple[nn.Module, object, dict[str, Any]]:
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


@contextlib.contextmanager
def own_output_only() -> Iterator[TextIO]:
    """Give our own results standard output; what a user's code prints goes to standard error.

    The output of ``--json -`` is then clean for a pipe, also when a model prints while it is made or run.
    """
    out = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        yield out


def objective(name: str, targets: Tensor | None) -> tuple[Tensor | None, Callable[[Any, Any], Tensor] | None]:
    """Targets and loss to audit with; both None for a random direction of the output."""
    if name in LOSSES:
        if LOSSES[name] is not None and targets is None:
            raise LoadError(
                f"while choosing the loss {name}: expected data with targets, got none; "
                "give other data, or --loss none for a random direction of the output"
            )
        return named_loss(name, targets)
    if ":" not in name:
        raise LoadError(
            "while choosing the loss: expected auto, cross-entropy, mse, none or `module:function`, got "
            f"{name!r}"
        )
    loss = locate(name, what="loss")
    if not callable(loss):
        raise LoadError(f"while choosing the loss {name!r}: expected a function, got {type(loss).__name__}")
    # a loss class such as torch.nn:CrossEntropyLoss is made first
    if isinstance(loss, type):
        with user_code(
            f"making the loss {name!r}", "a loss class is made without arguments", error=LoadError
        ):
            loss = loss()
    return targets, loss
