"""``firstlight bn``: how a deep batch-normalised network treats a batch, predicted and measured."""

from __future__ import annotations

import argparse
import math
import sys
import warnings
from dataclasses import asdict, dataclass
from typing import Any

import torch

from firstlight.cli.batches import add_data_arguments, load_data
from firstlight.cli.command import HEALTHY, UNHEALTHY
from firstlight.errors import DomainError, PropagationWarning
from firstlight.files import to_json, write_whole

_WEIGHTS = ("orthogonal", "gaussian")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``firstlight bn``."""
    net = parser.add_argument_group("network")
    net.add_argument("--depth", type=int, default=1000, help="batch-normalised layers (default: 1000)")
    net.add_argument("--width", type=int, default=100, help="units per layer (default: 100)")
    net.add_argument(
        "--weights", default="orthogonal,gaussian", help="orthogonal, gaussian or both (default)"
    )
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
    train.add_argument("--checkpoints", metavar="DIR", help="folder to resume training from and to write to")
    out = parser.add_argument_group("reports")
    out.add_argument("--html", metavar="PATH", help="write a self-contained HTML report")
    out.add_argument(
        "--json", metavar="PATH", help="write the numbers as JSON; `-` for standard output, alone"
    )
    out.add_argument(
        "--check", action="store_true", help="leave with status 1 if gradients explode or vanish"
    )


@dataclass(frozen=True)
class Finding:
    """Prediction and measurement for one kind of weights."""

    weights: str
    gain_exponent: float
    predicted_slope: float
    predicted_log_growth: float
    slope: float
    slope_se: float
    log_growth: float
    first_gap: float
    last_gap: float
    gaps: tuple[float, ...]
    log_gradients: tuple[float, ...]
    theory: tuple[float, ...]

    @property
    def healthy(self) -> bool:
        """Whether the gradient stays within a factor of ten between the first layer and the last."""
        return math.isfinite(self.log_growth) and abs(self.log_growth) < math.log(10)


def run(args: argparse.Namespace) -> int:
    """Check the batch, measure each kind of weights, print and write; 0, or 1 with ``--check``."""
    kinds = [kind.strip() for kind in args.weights.split(",")]
    if not kinds or any(kind not in _WEIGHTS for kind in kinds):
        raise DomainError(
            f"while reading --weights: expected orthogonal, gaussian or both, got {args.weights!r}"
        )
    from firstlight.theory.batchnorm import check_batch

    centred = not args.uncentred
    whole = args.batch is None
    if whole:
        args.batch = args.width + centred
    data = load_data(args)
    checks = [check_batch(data.inputs, width=args.width, weights=k, centred=centred) for k in kinds]
    exponent = _exponent(args)
    findings = [_measure(args, data.inputs, kind, exponent, centred) for kind in kinds]
    runs = {} if args.epochs < 1 else _train(args, kinds, exponent)
    if args.json == "-":
        print(to_json(_parts(args, checks, findings, runs)))
    else:
        _show(args, checks, findings, runs)
    if args.json not in (None, "-"):
        write_whole(args.json, to_json(_parts(args, checks, findings, runs)) + "\n")
    if args.html is not None:
        write_whole(args.html, _page(args, checks, findings, runs))
    return UNHEALTHY if args.check and not all(f.healthy for f in findings) else HEALTHY


def _exponent(args: argparse.Namespace) -> float:
    if args.gain_exponent is not None:
        return float(args.gain_exponent)
    from firstlight.theory.batchnorm import choose_gamma

    try:
        return choose_gamma(args.activation, depth=args.depth).gamma
    except DomainError:  # no exponent bounds this activation: show it as it is
        return 0.0


def _measure(args: argparse.Namespace, inputs: Any, kind: str, exponent: float, centred: bool) -> Finding:
    from torch.nn import functional

    from firstlight.builders import NormOptions, isometric_mlp, log_gradients
    from firstlight.theory import batchnorm

    generator = torch.Generator().manual_seed(args.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PropagationWarning)  # the table says the same with numbers
        model = isometric_mlp(
            inputs[0].numel(), 10, depth=args.depth, width=args.width, activation=args.activation,
            gain_exponent=exponent, weights=kind, norm=NormOptions(centred=centred), generator=generator,  # type: ignore[arg-type]
        )  # fmt: skip
    labels = torch.randint(0, 10, (len(inputs),), generator=generator)
    found = log_gradients(model, inputs.float(), lambda y: functional.cross_entropy(y, labels), gaps=True)
    inner = found.log_norms[1:-1] if args.depth > 1 else found.log_norms[:1]
    slope, se = found.trend(skip=min(args.depth // 10, 100))
    predicted = batchnorm.predict_batchnorm(
        depth=args.depth, width=args.width, batch=inputs.flatten(1), weights=kind,  # type: ignore[arg-type]
        activation=args.activation, gain_exponent=exponent, centred=centred, seed=args.seed,
    )  # fmt: skip
    theory = torch.as_tensor(predicted.profile["log_weight_grad"].copy())
    gaps = tuple(found.gaps.values())
    return Finding(
        kind, exponent, predicted.slope, predicted.log_growth, slope, se,
        float(inner[0] - inner[-1]), gaps[0], gaps[-1], gaps, tuple((inner - inner[-1]).tolist()),
        tuple(theory.tolist()),
    )  # fmt: skip


def _train(args: argparse.Namespace, kinds: list[str], exponent: float) -> dict[str, Any]:
    from firstlight.experiments import meterez2024

    linear = args.activation in ("linear", "identity")
    rate = args.learning_rate or (0.001 if linear else 0.01)
    first, second = meterez2024.splits(args.data, directory=args.data_dir, seed=args.seed)
    runs = {}
    for kind in kinds:
        setting = meterez2024.Setting(args.activation, kind, exponent, rate, args.depth, args.width)

        def log(epoch: Any, kind: str = kind) -> None:
            text = f"{kind}: epoch {epoch.epoch}, loss {epoch.loss:.4f}, test {epoch.test_accuracy:.3f} recalibrated"
            print(f"{text}, {epoch.test_accuracy_running:.3f} on running averages", file=sys.stderr)

        runs[kind] = meterez2024.train_setting(
            setting,
            first,
            second,
            epochs=args.epochs,
            seed=args.seed,
            checkpoints=args.checkpoints,
            on_epoch=log,
        )
    return runs


def _show(args: argparse.Namespace, checks: Any, findings: list[Finding], runs: dict[str, Any]) -> None:
    print(checks[0])
    print(
        f"\n{args.activation}, depth {args.depth}, width {args.width}, gains l^-{findings[0].gain_exponent:g}, "
        f"{'un' if args.uncentred else ''}centred batch norm\n"
    )
    head = (
        "weights",
        "slope per layer",
        "predicted",
        "log gradient first/last",
        "predicted",
        "gap first",
        "last",
    )
    rows = [
        (f.weights, f"{f.slope:.4g} ± {f.slope_se:.1g}", f"{f.predicted_slope:.4g}", f"{f.log_growth:.4g}",
         f"{f.predicted_log_growth:.4g}", f"{f.first_gap:.3g}", f"{f.last_gap:.3g}")
        for f in findings
    ]  # fmt: skip
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    for row in (head, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for finding in findings:
        verdict = "bounded" if finding.healthy else "EXPLODES" if finding.log_growth > 0 else "VANISHES"
        print(f"{finding.weights}: gradient {verdict}")
    for kind, run in runs.items():
        last = run.history[-1]
        end = (
            "diverged" if run.diverged else f"train {last.train_accuracy:.3f}, test {last.test_accuracy:.3f}"
        )
        print(f"{kind} after {last.epoch} epochs: {end}")


def _parts(
    args: argparse.Namespace, checks: Any, findings: list[Finding], runs: dict[str, Any]
) -> dict[str, Any]:
    facts = {name: getattr(args, name) for name in ("depth", "width", "activation", "data", "batch", "seed")}
    return {
        "facts": facts | {"centred": not args.uncentred},
        "batch": [asdict(check) for check in checks],
        "findings": [asdict(f) | {"healthy": f.healthy} for f in findings],
        "training": {kind: asdict(run) for kind, run in runs.items()},
    }


def _page(args: argparse.Namespace, checks: Any, findings: list[Finding], runs: dict[str, Any]) -> str:
    from firstlight import render

    def layers(values: Any) -> list[int]:
        return list(range(1, len(values) + 1))

    gap = render.line_chart(
        [render.Series(f.weights, layers(f.gaps), list(f.gaps), "marks") for f in findings],
        title="Isometry gap of the features", x=render.Axis("layer"), y=render.Axis("φ", scale="log"),
        caption="Output of every batch norm; a triangle at the edge is a rank-deficient layer.",
    )  # fmt: skip
    series = []
    for index, f in enumerate(findings):
        series.append(
            render.Series(f"{f.weights}, theory", layers(f.theory), list(f.theory), "line", colour=index)
        )
        measured = list(f.log_gradients)
        series.append(
            render.Series(f.weights, list(range(2, len(measured) + 2)), measured, "marks", colour=index)
        )
    gradient = render.line_chart(
        series, title="Gradient of the weights", x=render.Axis("layer"), y=render.Axis("log ‖∇W‖"),
        caption="Relative to the last layer, in nats.",
    )  # fmt: skip
    rows = [
        [f.weights, f.slope, f.slope_se, f.predicted_slope, f.log_growth, f.predicted_log_growth,
         "bounded" if f.healthy else "explodes" if f.log_growth > 0 else "vanishes"]
        for f in findings
    ]  # fmt: skip
    heads: list[render.Head | str] = [
        render.Head("weights", text=True), "slope", "standard error", "predicted slope", "log first/last",
        "predicted", render.Head("gradient", text=True),
    ]  # fmt: skip
    problems = sorted({problem for check in checks for problem in check.problems}) or ["no problems"]
    blocks = [
        render.section("Batch", render.items(*(str(check).splitlines()[0] for check in checks)),
                       render.items(*problems)),
        render.section("Layer by layer", render.grid(gap, gradient)),
        render.section("Slopes", render.table(heads, rows)),
    ]  # fmt: skip
    if runs:
        curves = [
            render.Series(
                f"{kind}, {part}", [e.epoch for e in run.history], run.column(f"{part}_accuracy"), "both"
            )
            for kind, run in runs.items()
            for part in ("train", "test")
        ]
        chart = render.line_chart(
            curves, title="Accuracy", x=render.Axis("epoch"), y=render.Axis("accuracy"),
            caption="On statistics recalibrated on training data.",
        )  # fmt: skip
        blocks.append(render.section("Training", render.grid(chart)))
    facts = {"depth": args.depth, "width": args.width, "batch": args.batch, "activation": args.activation,
             "data": args.data, "gain exponent": findings[0].gain_exponent}  # fmt: skip
    return render.page("Batch normalisation at depth", *blocks, facts=facts)
