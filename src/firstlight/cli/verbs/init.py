"""``firstlight init``: give a model the start that a recipe names, or rank the recipes that suit the model."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from firstlight.cli.auditing import add_run_arguments, own_output_only, subject
from firstlight.cli.batches import add_data_arguments
from firstlight.cli.models import add_model_arguments
from firstlight.cli.outputs import STDOUT, output_file, report_arguments
from firstlight.cli.states import check_suffix, state_bytes


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``firstlight init``."""
    add_model_arguments(parser)
    add_data_arguments(parser)
    add_run_arguments(parser)
    group = parser.add_argument_group("recipe")
    group.add_argument(
        "--recipe",
        metavar="NAME",
        help="a name that `firstlight recipes` lists, with parameters where the recipe takes them, as in "
        "skipinit(factor=0.1); without it the recipes that suit the model are tried on copies and ranked",
    )
    group.add_argument("--force", action="store_true", help="write weights that look trained too")
    out = parser.add_argument_group("results")
    out.add_argument(
        "--out", type=output_file, metavar="PATH", help="write the state dict: .safetensors, .pt or .pth"
    )
    report_arguments(out, "it", page="what was written as a page")


def run(args: argparse.Namespace) -> int:
    """Initialise or plan, print and write; 0."""
    from firstlight.recipes import get, initialise_, plan

    check_suffix(args.out)
    if args.recipe is not None:
        get(args.recipe)  # an unknown name is said before any data are read
    with own_output_only() as out, torch.random.fork_rng(devices=[]):
        model, batch, keywords = subject(args)
        targets, loss = keywords["targets"], keywords["loss"]
        if args.recipe is None:
            found = replace(plan(model, batch, targets, loss=loss, seed=args.seed), model=keywords["name"])
            if args.json != STDOUT:
                print(found.to_text(), file=out)
            args.files.json(args.json, found.to_json(), out)
            args.files.write(args.html, found.to_html)
            return 0
        generator = torch.Generator().manual_seed(args.seed)
        done = initialise_(
            model, args.recipe, batch, targets=targets, loss=loss, generator=generator, force=args.force
        )
        done = replace(done, model=keywords["name"])
        if args.json != STDOUT:
            print(done.to_text(), file=out)
        args.files.json(args.json, done.to_json(), out)
        args.files.write(args.html, done.to_html)
        if args.out is not None:
            args.files.write(args.out, state_bytes(model, Path(args.out).suffix))
    return 0
