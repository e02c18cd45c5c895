"""``firstlight bn``: how a deep batch-normalised network treats a batch, predicted and measured."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from firstlight.cli.batches import add_data_arguments, load_data
from firstlight.cli.command import HEALTHY, UNHEALTHY
from firstlight.cli.outputs import STDOUT, output_folder, report_arguments
from firstlight.files import to_json

if TYPE_CHECKING:
    from firstlight.data import Dataset
    from firstlight.experiments.meterez2024.depth import DeepNetwork
    from firstlight.training import Epoch, TrainingRun


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``firstlight bn``."""
    net = parser.add_argument_group("network")
    net.add_argument("--depth", type=int, default=1000, help="batch-normalised layers (default: 1000)")
    net.add_argument("--width", type=int, default=100, help="units per layer (default: 100)")
    net.add_argument("--weights", default="orthogonal,normal", help="orthogonal, normal or both (default)")
    net.add_argument("--activation", default="linear", help="name of an activation (default: linear)")
    net.add_argument(
        "--gain-exponent", type=float, metavar="GAMMA",
        help="gains ℓ^-GAMMA before the activation (default: the smallest that bounds the gradient, or 0)",
    )  # fmt: skip
    net.add_argument("--uncentred", action="store_true", help="batch norm without subtracting the mean")
    add_data_arguments(parser)
    train = parser.add_argument_group("training")
    train.add_argument("--epochs", type=int, default=0, help="also train so many epochs by SGD (default: 0)")
    train.add_argument("--learning-rate", type=float, default=None, help="default: 0.001 linear, else 0.01")
    train.add_argument(
        "--checkpoints",
        type=output_folder,
        metavar="DIR",
        help="folder to resume training from and to write to",
    )
    out = parser.add_argument_group("reports")
    report_arguments(out, "the numbers")
    out.add_argument(
        "--check", action="store_true", help="leave with status 1 if gradients explode or vanish"
    )


def run(args: argparse.Namespace) -> int:
    """Check the batch, measure each kind of weights, print and write; 0, or 1 with ``--check``."""
    from firstlight.experiments.meterez2024.depth import DeepNetwork, study
    from firstlight.experiments.meterez2024.depth_page import depth_page, depth_text

    network = DeepNetwork(
        args.depth, args.width, args.activation, args.gain_exponent, not args.uncentred, args.seed
    )
    if args.batch is None:
        args.batch = args.width + network.centred
    kinds = [kind.strip() for kind in args.weights.split(",") if kind.strip()]
    images = _images(args, network) if args.epochs > 0 else None  # first, since the study may take minutes
    result = study(network, load_data(args).inputs, kinds=kinds)
    if images is not None:
        result = replace(result, runs={kind: _train(args, network, kind, images) for kind in kinds})
    parts = result.to_dict()
    parts["facts"]["data"] = args.data
    text = to_json(parts)
    if args.json != STDOUT:
        print(depth_text(result))
    args.files.json(args.json, text)
    args.files.write(args.html, lambda: depth_page(result, data=args.data))
    return UNHEALTHY if args.check and not result.healthy else HEALTHY


def _images(args: argparse.Namespace, network: DeepNetwork) -> tuple[Dataset, Dataset]:
    from firstlight.experiments.meterez2024.training import splits

    return splits(args.data, directory=args.data_dir, seed=network.seed)


def _train(
    args: argparse.Namespace, network: DeepNetwork, kind: str, images: tuple[Dataset, Dataset]
) -> TrainingRun:
    from firstlight.experiments.meterez2024.depth import train

    def log(epoch: Epoch) -> None:
        text = (
            f"{kind}: epoch {epoch.epoch}, loss {epoch.loss:.4f}, test {epoch.test_accuracy:.3f} recalibrated"
        )
        print(f"{text}, {epoch.test_accuracy_running:.3f} on running averages", file=sys.stderr)

    return train(
        network, kind, images=images, epochs=args.epochs,
        learning_rate=args.learning_rate, checkpoints=args.checkpoints, on_epoch=log,
    )  # fmt: skip
