"""``firstlight simulate``: sample thousands of random networks, print the layers, keep the run in a folder."""

from __future__ import annotations

import argparse
import logging
import math
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from firstlight.cli.outputs import STDOUT, Arguments, output_folder, report_arguments
from firstlight.errors import LoadError
from firstlight.files.plain_data import Record
from firstlight.render import number

if TYPE_CHECKING:
    from torch import Tensor

    from firstlight.ensemble import Dask, Local, Plan, Ray

_log = logging.getLogger(__name__)
SUMMARY = "sample thousands of random networks exactly and report their layers"

# arguments that are fields of RandomNetwork: flag, field, type, default, help
_NET: tuple[tuple[str, str, Callable[[str], object], object, str], ...] = (
    ("--blocks", "blocks", str, None, "blocks behind the first layer, \"6 * (gated('swiglu') + rms)\""),
    ("--depth", "depth", int, 100, "weight layers"),
    ("--width", "width", int, 100, "units of each layer"),
    ("--activation", "activation", str, "tanh", "activation, by name; 'weibull-odd(3)' for a pair's"),
    ("--sigma-w", "sigma_w", float, 1.0, "weight scale"),
    ("--sigma-b", "sigma_b", float, 0.0, "bias scale"),
    ("--weights", "weight_law", str, "normal", "law of the weights: normal, orthogonal, 'weibull(3)', …"),
    ("--first-layer", "first_layer", str, "normal", "law of the first layer's weights"),
    ("--norm", "norm", str, None, "batch, batch-uncentred, layer or rms"),
    ("--skip", "skip", float, 0.0, "scale of an identity path"),
    ("--branch", "branch", float, 1.0, "scale of the weight path"),
    ("--dropout", "dropout", float, 0.0, "probability of dropping a unit"),
    (
        "--kernel-size",
        "kernel_size",
        int,
        3,
        "side of a cnn's kernels, which are circular; width counts channels",
    ),
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``firstlight simulate``."""
    parser.add_argument(
        "model", nargs="?", choices=["mlp", "cnn"], help="the kind of network: perceptron or convolutions"
    )
    parser.add_argument("--sweep", metavar="FILE", help="a TOML file with a grid of networks, instead of one")
    net = parser.add_argument_group("the network")
    for flag, field, kind, default, text in _NET:
        net.add_argument(flag, dest=field, type=kind, help=f"{text} (default: {default})")
    what = parser.add_argument_group("what is simulated")
    what.add_argument("--nets", type=int, help="independent networks (default: 10000)")
    what.add_argument("--layers", metavar="L,L,…", help="layers to report, such as 1,10,100 (default: all)")
    what.add_argument("--gradients", action="store_true", help="send gradients back too")
    what.add_argument("--count-units", action="store_true", help="count units, no Rao–Blackwell averages")
    what.add_argument("--precision", choices=("float32", "float64"), help="of the signals (default: float32)")
    what.add_argument("--shards", type=int, help="independent pieces of work (default: up to 32)")
    what.add_argument("--seed", type=int, default=0, help="seed of the networks and of the data (default: 0)")
    data = parser.add_argument_group("inputs (default: one input with squared norm equal to its length, 100)")
    data.add_argument("--data", help="as for `firstlight audit`: digits, mnist, cifar10, a file, a shape, …")
    data.add_argument("--data-dir", metavar="DIR", help="torchvision's data folder")
    data.add_argument("--batch", type=int, default=10, metavar="N", help="inputs taken (default: 10)")
    data.add_argument("--normalise", choices=("standardise", "unit", "raw"), help="scale of the inputs")
    where = parser.add_argument_group("where it runs and what it leaves")
    where.add_argument(
        "--out", type=output_folder, metavar="DIR", help="folder of the run; finished shards are kept there"
    )
    where.add_argument("--resume", action="store_true", help="finish the run in --out")
    add_engine_arguments(where)
    report_arguments(where, "the profile", page="a self-contained page with charts")
    where.add_argument("--quiet", action="store_true", help="print no table and no progress")


def add_engine_arguments(group: Arguments) -> None:
    """Which processes compute: local workers, a dask cluster or a ray cluster."""
    engine = group.add_mutually_exclusive_group()
    engine.add_argument("--workers", type=int, default=1, help="processes on this machine (default: 1)")
    engine.add_argument("--dask", metavar="ADDRESS", help="a dask scheduler, such as tcp://host:8786")
    engine.add_argument("--ray", metavar="ADDRESS", help="a ray cluster: its address, auto or local")


def engine_of(args: argparse.Namespace) -> Dask | Local | Ray:
    """The engine that the arguments name."""
    from firstlight.ensemble import Dask, Local, Ray

    if args.dask is not None:
        return Dask(args.dask)
    return Ray(args.ray) if args.ray is not None else Local(args.workers)


def run(args: argparse.Namespace) -> int:
    """Simulate, print and write; 0."""
    if args.sweep is not None:
        return _sweep(args)
    if args.model is None:
        raise LoadError("while reading the arguments: expected `mlp`, `cnn` or --sweep FILE, got neither")
    from firstlight.ensemble import run as run_plan
    from firstlight.ensemble.beside import with_theory
    from firstlight.ensemble.page import simulation_page, simulation_text
    from firstlight.ensemble.plan import columns

    plan, inputs = _plan(args)
    if not args.quiet:
        _log.info("%s", _cost(plan, columns(inputs, plan.net, plan.dtype).shape))
    ensemble = run_plan(
        plan, inputs, out=args.out, resume=args.resume, engine=engine_of(args), progress=not args.quiet
    )
    profile = with_theory(ensemble.profile, plan.net, columns(inputs, plan.net, "float64"))
    for note in ensemble.notes:
        print(f"firstlight simulate: {note}", file=sys.stderr)
    if args.json != STDOUT and not args.quiet:
        print(simulation_text(profile))
    args.files.json(args.json, profile.to_json())
    args.files.write(args.html, lambda: simulation_page("Simulated networks", profile, ensemble.notes))
    return 0


def _cost(plan: Plan, shape: Sequence[int]) -> str:
    """How much there is to do: networks, and multiplications in their weights."""
    features, *space, inputs = shape
    widths = (features, *plan.net.widths)
    each = math.prod((*space, inputs, *plan.net.kernel(len(space)))) * sum(map(math.prod, pairwise(widths)))
    return f"drawing {plan.nets:,} networks, {number(float(each) * plan.nets)} multiplications"


def _plan(args: argparse.Namespace) -> tuple[Plan, Tensor]:
    from firstlight.ensemble import Plan
    from firstlight.ensemble.simulate import default_inputs
    from firstlight.network import RandomNetwork

    fields: Record = {field: getattr(args, field) for _, field, *_ in _NET}
    defaults: Record = {field: default for _, field, _, default, _ in _NET}
    if args.model == "mlp":
        if args.kernel_size is not None:
            raise LoadError("while reading the arguments: expected --kernel-size with `cnn` only, got `mlp`")
        del fields["kernel_size"]
    given = {k: v for k, v in fields.items() if v is not None}
    # blocks say their own depth, and their fields are in the blocks
    own = ("width", "kernel_size") if args.blocks is not None else tuple(fields)
    net = RandomNetwork(**{**{k: v for k, v in defaults.items() if k in own and k in fields}, **given})
    plan = Plan(
        net=net,
        nets=10_000 if args.nets is None else args.nets,
        layers=_layers(args.layers),
        seed=args.seed,
        shards=args.shards or 0,
        dtype=args.precision or "float32",
        gradients=args.gradients,
        rao_blackwell=not args.count_units,
    )
    if args.data is None:
        return plan, default_inputs(net)
    from firstlight import data

    loaded = data.load(
        args.data, directory=args.data_dir, count=args.batch, seed=args.seed, normalise=args.normalise
    )
    return plan, loaded.inputs


def _layers(text: str | None) -> tuple[int, ...]:
    if text is None:
        return ()
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise LoadError(f"while reading --layers: expected numbers such as 1,10,100, got {text!r}") from error


def _sweep(args: argparse.Namespace) -> int:
    from firstlight.ensemble.runs.sweep import Sweep, run_sweep

    given = [flag for flag, field, *_ in _NET if getattr(args, field) is not None]
    given += [flag for flag in ("--nets", "--layers", "--data") if getattr(args, flag[2:]) is not None]
    if args.model is not None or given:
        raise LoadError(
            f"while reading the arguments: expected --sweep alone, got {(given or [args.model])[0]} too; "
            "write it into the sweep file"
        )
    if args.out is None:
        raise LoadError(
            "while reading the arguments: expected --out DIR with --sweep, got none; name the folder of "
            "the results"
        )
    sweep = Sweep.load(Path(args.sweep), data_directory=args.data_dir)
    rows = run_sweep(sweep, out=args.out, resume=args.resume, engine=engine_of(args), progress=not args.quiet)
    if not args.quiet:
        print(f"{len(sweep.cells())} networks, {len(rows)} rows: {Path(args.out) / 'results.csv'}")
    return 0
