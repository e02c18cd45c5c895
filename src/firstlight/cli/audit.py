"""``firstlight audit``: measure a model on data, print the table and the verdicts, write the reports."""

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
from torch import Tensor
from torch.nn import functional

from firstlight.cli.batches import add_data_arguments, beside, load_data, to_device
from firstlight.cli.command import HEALTHY, UNHEALTHY
from firstlight.cli.models import add_model_arguments, build_model, describe_model
from firstlight.data import locate
from firstlight.errors import LoadError

SUMMARY = "measure how signals and gradients travel through a PyTorch model"
STDOUT = "-"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``firstlight audit``."""
    add_model_arguments(parser)
    add_data_arguments(parser)
    run_group = parser.add_argument_group("what is measured")
    run_group.add_argument(
        "--loss",
        default="auto",
        help="what is differentiated: auto (cross-entropy for classes, squared error for numbers, else a "
        "random direction), cross-entropy, mse, none (a random direction of the output), or "
        "`module:function` of output and targets (default: auto)",
    )
    mode = run_group.add_mutually_exclusive_group()
    mode.add_argument(
        "--train", dest="training", action="store_true", default=True, help="training mode (default)"
    )
    mode.add_argument("--eval", dest="training", action="store_false", help="evaluation mode")
    out = parser.add_argument_group("reports")
    out.add_argument("--html", metavar="PATH", help="write a self-contained HTML report")
    out.add_argument(
        "--json", metavar="PATH", help="write the result as JSON; `-` for standard output, alone"
    )
    out.add_argument("--check", action="store_true", help="leave with status 1 if the model is unhealthy")
    out.add_argument("--quiet", action="store_true", help="print no table")


def run(args: argparse.Namespace) -> int:
    """Audit, print and write; 0, or 1 for an unhealthy model with ``--check``."""
    from firstlight import audit
    from firstlight.report import print_audit

    _check_paths(args)
    with _own_output_only() as out, torch.random.fork_rng(devices=[]):
        torch.manual_seed(args.seed)
        data = load_data(args)
        model = build_model(args, data)
        targets, loss = _objective(args.loss, data.targets)
        result = audit(
            model,
            beside(model, data.inputs),
            targets=to_device(model, targets),
            loss=loss,
            training=args.training,
            seed=args.seed,
            name=describe_model(args),
        )
        if args.json == STDOUT:
            print(_encodable(result.to_json(), out), file=out)
        elif not args.quiet:
            print_audit(result.measurement, result.verdicts, file=out)
        if args.json is not None and args.json != STDOUT:
            result.to_json(args.json)
        if args.html is not None:
            result.to_html(args.html)
    return _status(args, result)


def _encodable(text: str, out: Any) -> str:
    """A JSON text that survives the stream's encoding: escaped where that is not UTF-8."""
    encoding = (getattr(out, "encoding", None) or "utf-8").lower().replace("-", "").replace("_", "")
    return text if encoding == "utf8" else json.dumps(json.loads(text))


def _status(args: argparse.Namespace, result: Any) -> int:
    if not args.check:
        return HEALTHY
    if result.healthy:
        print("firstlight audit: healthy", file=sys.stderr)
        return HEALTHY
    found = [verdict.code for verdict in result.verdicts if verdict.severity == "unhealthy"]
    print(f"firstlight audit: unhealthy: {', '.join(found)}", file=sys.stderr)
    return UNHEALTHY


@contextlib.contextmanager
def _own_output_only() -> Iterator[Any]:
    """Give our own results standard output; what a user's code prints goes to standard error.

    So ``--json -`` can be piped whatever a model prints while it is made or run.
    """
    out = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        yield out


def _check_paths(args: argparse.Namespace) -> None:
    """Refuse a report that cannot be written before the work is done, not after."""
    for flag, path in (("--html", args.html), ("--json", args.json)):
        if path is None or (flag == "--json" and path == STDOUT):
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
                "be "
                f"written to, got {reason}; nothing was run"
            )
    if (
        args.html is not None
        and args.json is not None
        and Path(args.html).resolve() == Path(args.json).resolve()
    ):
        raise LoadError(f"while checking --html and --json: expected two files, got {args.html} twice")


def _objective(
    name: str, targets: Tensor | None
) -> tuple[Tensor | None, Callable[[Any, Any], Tensor] | None]:
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
