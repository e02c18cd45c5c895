"""The model that a command line names: the builtin MLP, or whatever a user's module or file makes."""

from __future__ import annotations

import argparse
import math

import torch
from torch import nn

from firstlight.data import Dataset, first_tensor, locate
from firstlight.errors import FirstlightError, LoadError
from firstlight.files.plain_data import Record

# the builtin MLP's arguments: flag, type, default, help
_MLP: tuple[tuple[str, type, object, str], ...] = (
    ("--depth", int, 10, "hidden layers"),
    ("--width", int, 256, "units of each hidden layer"),
    ("--activation", str, "tanh", "activation, by name"),
    ("--sigma-w", float, 1.0, "weight scale: weights have variance σ_w²/fan-in"),
    ("--sigma-b", float, 0.0, "bias scale: biases have variance σ_b²"),
    ("--norm", str, None, "batch, layer or rms, before each activation"),
    ("--weights", str, "normal", "law of the weights, such as normal, uniform or 'weibull(3)'"),
    ("--outputs", int, None, "outputs (default: the number of classes, else 10)"),
)
DTYPES = ("float32", "float64", "bfloat16", "float16")


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """The model, the builtin MLP's scales, and where the model runs."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="`package.module:name` or `path/to/file.py:name`, a function that makes a model, a model class "
        "or a model; or `mlp`, the builtin multilayer perceptron",
    )
    parser.add_argument("--dtype", choices=DTYPES, help="cast the model to this type (default: as it comes)")
    parser.add_argument(
        "--device", default=None, help="move the model there, such as cuda:0 (default: as it comes)"
    )
    group = parser.add_argument_group("the builtin `mlp`")
    for flag, kind, default, text in _MLP:
        shown = "" if default is None else f" (default: {default})"
        # None tells "not given" from the default, to refuse these flags for a user's own model
        group.add_argument(flag, type=kind, default=None, help=text + shown)


def build_model(args: argparse.Namespace, data: Dataset) -> nn.Module:
    """The model of these arguments, of the asked type and on the asked device.

    Raises
    ------
    LoadError
        If it cannot be found or made, or the type or device does not exist here.
    """
    given = [flag for flag, *_ in _MLP if _value(args, flag) is not None]
    if args.model == "mlp":
        model = _mlp(args, data)
    elif given:
        raise LoadError(
            f"while making the model {args.model!r}: expected no {given[0]}, which shapes the builtin mlp "
            "only, got one; "
            "set it in your own factory, or name the model `mlp`"
        )
    else:
        model = _own(args.model)
    return _placed(model, args)


def describe_model(args: argparse.Namespace) -> str:
    """What reports call the model: the factory as it was given, or the shape of the builtin network."""
    if args.model != "mlp":
        return str(args.model)
    chosen = {
        flag: default if _value(args, flag) is None else _value(args, flag) for flag, _, default, _ in _MLP
    }
    norm = f" {chosen['--norm']}-norm" if chosen.get("--norm") not in (None, "none") else ""
    return f"mlp {chosen['--depth']}×{chosen['--width']} {chosen['--activation']}{norm}, σ_w = {chosen['--sigma-w']:g}"


def _value(args: argparse.Namespace, flag: str) -> object:
    return getattr(args, flag.removeprefix("--").replace("-", "_"))


def _mlp(args: argparse.Namespace, data: Dataset) -> nn.Module:
    from firstlight.builders import draw, mlp

    chosen: Record = {}
    for flag, _, default, _ in _MLP:
        value = _value(args, flag)
        chosen[flag.removeprefix("--").replace("-", "_")] = default if value is None else value
    law, outputs = chosen.pop("weights"), chosen.pop("outputs")
    sample = first_tensor(data.inputs, data.name)
    if not sample.is_floating_point():
        raise LoadError(
            f"while making the builtin mlp for {data.name}: expected inputs of real numbers, got "
            f"{sample.dtype}; "
            "give --normalise standardise, or a model that takes whole numbers"
        )
    inputs = math.prod(sample.shape[1:])
    model = mlp(inputs, outputs or data.classes or 10, **chosen)
    scales = {name: chosen[name] for name in ("sigma_w", "sigma_b")}
    return draw(model, **scales, weight_law=law, generator=torch.Generator().manual_seed(args.seed))


def _own(spec: str) -> nn.Module:
    if ":" not in spec:
        raise LoadError(
            f"while looking for the model {spec!r}: expected `package.module:name`, `path/to/file.py:name` "
            "or `mlp`, "
            "got no colon; add the name of the function that makes the model"
        )
    found = locate(spec, what="model")
    if isinstance(found, nn.Module):
        return found
    if not callable(found):
        raise LoadError(
            f"while making the model {spec!r}: expected a function that makes a torch.nn.Module, "
            f"got {type(found).__name__}"
        )
    try:
        model = found()
    except FirstlightError:
        raise
    except (Exception, SystemExit) as error:
        raise LoadError(
            f"while calling the model factory {spec!r}: expected a torch.nn.Module, "
            f"got {type(error).__name__}: {error}; a factory is called without arguments"
        ) from error
    if not isinstance(model, nn.Module):
        raise LoadError(
            f"while calling the model factory {spec!r}: expected a torch.nn.Module, got "
            f"{type(model).__name__}; "
            "return the model itself"
        )
    return model


def _placed(model: nn.Module, args: argparse.Namespace) -> nn.Module:
    try:
        if args.device is not None:
            torch.empty(0, device=args.device)  # refuses devices that do not exist, in torch's words
            model = model.to(args.device)
        return model if args.dtype is None else model.to(getattr(torch, args.dtype))
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise LoadError(
            f"while moving the model to {args.device or 'its device'} as {args.dtype or 'it is'}: expected "
            "that to "
            f"work, got {type(error).__name__}: {str(error).splitlines()[0]}"
        ) from error
