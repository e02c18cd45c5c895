"""The data that a command line names, cast and moved to where the model is."""

from __future__ import annotations

import argparse

import torch
from torch import Tensor, nn

from firstlight.data import Dataset, load, mapped

DEFAULT_BATCH = 256


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Which data, how much of it, and how it is scaled."""
    group = parser.add_argument_group("data")
    group.add_argument(
        "--data",
        default="digits",
        help="digits, mnist, fashion-mnist, cifar10; a .npz, .safetensors or .pt file; a shape such as "
        "3x32x32 for Gaussian noise; or `module:factory` (default: digits)",
    )
    group.add_argument(
        "--data-dir", metavar="DIR", help="torchvision's data folder (default: the variable FIRSTLIGHT_DATA)"
    )
    group.add_argument("--download", action="store_true", help="fetch a missing image set first")
    group.add_argument("--split", choices=("train", "test"), default="train", help="part (default: train)")
    group.add_argument(
        "--batch", type=int, default=None, metavar="N", help=f"samples (default: {DEFAULT_BATCH}, or all)"
    )
    group.add_argument(
        "--normalise",
        choices=("standardise", "unit", "raw"),
        help="scale of the inputs (default: image sets are standardised per channel, the rest is raw)",
    )
    group.add_argument("--seed", type=int, default=0, help="seed of weights, samples and noise (default: 0)")


def load_data(args: argparse.Namespace) -> Dataset:
    """The samples of these arguments; without ``--batch``, 256 of a larger set and all of a smaller one."""
    data = load(
        args.data,
        directory=args.data_dir,
        train=args.split == "train",
        download=args.download,
        count=args.batch,
        seed=args.seed,
        normalise=args.normalise,
    )
    if args.batch is None and len(data) > DEFAULT_BATCH:
        return data.take(DEFAULT_BATCH, seed=args.seed)
    return data


def beside(model: nn.Module, value: object, *, device: bool = True) -> object:
    """A batch with its real numbers in the model's own type, on the model's device.

    A model without parameters takes the batch as it is.
    """
    parameter = next((p for p in model.parameters() if p.is_floating_point()), None)
    if parameter is None:
        return value
    target = parameter.device if device and not parameter.is_meta else None

    def move(tensor: object) -> object:
        if not isinstance(tensor, Tensor):
            return tensor
        # a complex input stays complex: only real numbers have a type to agree on
        return tensor.to(dtype=parameter.dtype if tensor.is_floating_point() else tensor.dtype, device=target)

    return mapped(value, move)


def to_device(model: nn.Module, targets: Tensor | None) -> Tensor | None:
    """Targets on the model's device, in their own type."""
    parameter = next(model.parameters(), None)
    if targets is None or parameter is None or parameter.is_meta:
        return targets
    return targets.to(torch.device(parameter.device))
