"""``firstlight fix``: fix how a model starts, and show by the same audit that the fix helps."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from firstlight.cli.auditing import (
    add_run_arguments,
    own_output_only,
    subject,
)
from firstlight.cli.batches import add_data_arguments
from firstlight.cli.command import HEALTHY, UNHEALTHY
from firstlight.cli.models import add_model_arguments
from firstlight.cli.outputs import STDOUT, output_file, report_arguments
from firstlight.cli.states import check_suffix, state_bytes

SUMMARY = "fix how a PyTorch model starts, and show by the same audit that the fix helps"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``firstlight fix``."""
    add_model_arguments(parser)
    add_data_arguments(parser)
    add_run_arguments(parser)
    group = parser.add_argument_group("remedies")
    group.add_argument(
        "--structural",
        action="store_true",
        help="let remedies replace modules, such as kinked activations after batch norm",
    )
    group.add_argument("--warnings", action="store_true", help="go on until there are no warnings either")
    group.add_argument(
        "--remedies",
        metavar="NAMES",
        help="try these alone, remedies and recipes by name with commas between, in this order "
        "(default: the remedies that the verdicts call for)",
    )
    group.add_argument("--rounds", type=int, default=4, help="remedies kept at most (default: 4)")
    group.add_argument(
        "--train-steps",
        type=int,
        default=0,
        metavar="N",
        help="train the model as it came and every candidate alike for N steps on the data, by SGD and by Adam, and "
        "let the loss decide (default: 0, the audit alone decides)",
    )
    out = parser.add_argument_group("results")
    out.add_argument(
        "--out",
        type=output_file,
        metavar="PATH",
        help="write the fixed state dict: .safetensors, .pt or .pth",
    )
    report_arguments(out, "the result", page="a self-contained page, before and after")
    out.add_argument("--quiet", action="store_true", help="print nothing")


def run(args: argparse.Namespace) -> int:
    """Fix, print and write; 0 if the model is then healthy, 1 if not."""
    from firstlight import fix
    from firstlight.fixing.page import fix_html

    check_suffix(args.out)
    with own_output_only() as out, torch.random.fork_rng(devices=[]):
        model, batch, keywords = subject(args)
        result = fix(
            model,
            batch,
            structural=args.structural,
            warnings=args.warnings,
            rounds=args.rounds,
            remedies=args.remedies,
            train_steps=args.train_steps,
            **keywords,
        )
        if args.out is not None:
            args.files.write(args.out, state_bytes(result.model, Path(args.out).suffix))
        if args.json == STDOUT:
            args.files.json(args.json, result.to_json(), out)
        elif not args.quiet:
            print(result.to_text(), file=out)
        if args.json != STDOUT:
            args.files.json(args.json, result.to_json() if args.json is not None else "")
        args.files.write(args.html, lambda: fix_html(result, saved=args.out))
    if not result.healthy:
        left = [v.code for v in result.after.verdicts if v.severity == "unhealthy"]
        print(f"firstlight fix: still unhealthy: {', '.join(left)}", file=sys.stderr)
    return HEALTHY if result.healthy else UNHEALTHY
