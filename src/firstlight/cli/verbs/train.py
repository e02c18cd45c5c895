"""``firstlight train``: several seeds of a network by a paper's protocol, in a folder that survives interruptions."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from firstlight.cli.outputs import STDOUT, output_folder, report_arguments
from firstlight.errors import LoadError
from firstlight.files import to_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from firstlight.training import TrainingPlan

# arguments that are fields of TrainingPlan: flag, field, type, help
_NETWORK: tuple[tuple[str, str, Callable[[str], object], str], ...] = (
    ("--depth", "depth", int, "hidden layers of the mlp (default: 3)"),
    ("--width", "width", int, "units of each hidden layer of the mlp (default: 100)"),
    ("--activation", "activation", str, "activation, by name (default: tanh)"),
    ("--weights", "weights", str, "law of the weights, such as normal or 'weibull(3)' (default: normal)"),
    ("--first-layer", "first_layer", str, "law of the first layer's weights (default: normal)"),
    ("--recipe", "recipe", str, "a named start, such as he or orthogonal, in place of laws and scales"),
    ("--sigma-w", "sigma_w", float, "weight scale (default: the edge of chaos for tanh and relu, else 1)"),
    ("--sigma-b", "sigma_b", float, "bias scale (default: the edge of chaos for tanh and relu, else 0)"),
    ("--data", "data", str, "mnist, fashion-mnist, cifar10, or digits (default: mnist)"),
    ("--fraction", "fraction", float, "share of the training and validation images (default: 1)"),
    ("--epochs", "epochs", int, "epochs at most (default: 1000)"),
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``firstlight train``."""
    from firstlight.training import PROTOCOLS

    parser.add_argument("model", choices=("mlp", "lenet"), help="a perceptron, or a LeNet on 32×32 images")
    for flag, field, kind, text in _NETWORK:
        parser.add_argument(flag, dest=field, type=kind, help=text)
    parser.add_argument(
        "--pair",
        metavar="PAIR",
        help="activation and weights of a pair: weibull:10:odd (or positive, critical), or 'partner(uniform)'",
    )
    parser.add_argument(
        "--native", action="store_true", help="the pair's activation as a kernel compiled for this machine"
    )
    parser.add_argument(
        "--protocol", choices=sorted(PROTOCOLS), default="wolinski2025", help="(default: wolinski2025)"
    )
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="networks (default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="the first seed (default: 0)")
    parser.add_argument(
        "--groups",
        type=int,
        metavar="N",
        help="groups of seeds that train at the same time, each on one thread (default: by sizes and threads)",
    )
    parser.add_argument(
        "--data-dir", metavar="DIR", help="torchvision's data folder (default: FIRSTLIGHT_DATA)"
    )
    parser.add_argument("--download", action="store_true", help="fetch a missing image set first")
    parser.add_argument(
        "--out", type=output_folder, metavar="DIR", help="folder of the run, written after every epoch"
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    report_arguments(parser, "the numbers", page="a self-contained page with curves")


def run(args: argparse.Namespace) -> int:
    """Train, print and write; 0."""
    from firstlight.training import train_seeds, training_page, training_text

    result = train_seeds(
        _plan(args), directory=args.data_dir, download=args.download, out=args.out, resume=args.resume,
        groups=args.groups,
    )  # fmt: skip
    if args.json != STDOUT:
        print(training_text(result))
    args.files.json(args.json, to_json(result.to_dict()))
    args.files.write(args.html, lambda: training_page(result))
    return 0


def _plan(args: argparse.Namespace) -> TrainingPlan:
    from firstlight.training import PROTOCOLS, TrainingPlan

    given = {field: getattr(args, field) for _, field, *_ in _NETWORK if getattr(args, field) is not None}
    if args.resume and args.out is None:
        raise LoadError(
            "while reading the arguments: expected --out DIR with --resume, got none; name the folder"
        )
    if args.model == "lenet" and {"depth", "width"} & set(given):
        raise LoadError(
            "while reading the arguments: expected no --depth and no --width with lenet, whose sizes are fixed, got "
            "one; leave it out"
        )
    scales = {"weights", "first_layer", "sigma_w", "sigma_b"} & set(given)
    if args.recipe is not None and scales:
        flag = sorted(scales)[0].replace("_", "-")
        raise LoadError(
            f"while reading the arguments: expected --recipe alone, got --{flag} too; a recipe has its own laws and "
            "scales, leave one away"
        )
    if args.seeds < 1:
        raise LoadError(f"while reading the arguments: expected --seeds of at least 1, got {args.seeds}")
    fields = {
        **given, "model": args.model, "rules": PROTOCOLS[args.protocol], "native": args.native,
        "seeds": tuple(range(args.seed, args.seed + args.seeds)),
    }  # fmt: skip
    if args.pair is None:
        return TrainingPlan(**fields)
    both = {"activation", "weights", "recipe"} & set(given)
    if both:
        raise LoadError(
            f"while reading the arguments: expected --pair alone, got --{sorted(both)[0]} too; a pair has its own, "
            f"so leave one of the two out"
        )
    return TrainingPlan.of_pair(args.pair, **fields)
