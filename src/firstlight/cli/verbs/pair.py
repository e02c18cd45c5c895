"""``firstlight pair``: an exact Gaussian pair, its proof by numbers, and what it does to gradients."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from firstlight.cli.outputs import report_arguments
from firstlight.files import to_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from firstlight.experiments.wolinski2025.pairs_in_depth import InDepth
    from firstlight.experiments.wolinski2025.pairs_training import Trial
    from firstlight.experiments.wolinski2025.two_layers import TwoLayer
    from firstlight.pairs import Pair

SUMMARY = "an activation and a weight law that keep pre-activations N(0,1), with the proof by numbers"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``firstlight pair``."""
    parser.add_argument(
        "law", help="weight law: weibull, or any law by name, such as uniform, 'chi(3)', 'sphere_marginal(5)'"
    )
    parser.add_argument("--theta", type=float, help="shape of Weibull weights, from 2 to inf (default: 3)")
    parser.add_argument("--kind", choices=("odd", "positive", "critical"), default="odd")
    parser.add_argument("--split", type=float, help="share of X on which φ is negative, instead of --kind")
    parser.add_argument(
        "--samples",
        type=int,
        default=0,
        metavar="N",
        help="also test W·φ(X) on N samples (10000000 in the docs)",
    )
    parser.add_argument(
        "--two-layer",
        type=int,
        default=0,
        metavar="N",
        help="also the two-layer experiment on N networks a point",
    )
    parser.add_argument(
        "--experiment",
        metavar="N",
        type=int,
        default=0,
        help="also N random networks of depth 100 and every width, beside tanh and ReLU (weibull, by kind)",
    )
    parser.add_argument(
        "--train",
        metavar="EPOCHS",
        type=int,
        default=0,
        help="also train deep MLPs beside tanh and ReLU, each at the best of three rates, over three seeds "
        "(weibull, by kind)",
    )
    parser.add_argument("--data", default="digits", help="images to train on (default: digits)")
    parser.add_argument(
        "--data-dir", metavar="DIR", help="torchvision's data folder (default: the variable FIRSTLIGHT_DATA)"
    )
    parser.add_argument(
        "--images", type=int, metavar="N", help="train on N of the images, drawn at random (default: all)"
    )
    parser.add_argument(
        "--widths", metavar="N,N", help="widths of --experiment and --train (default: 3,10,30,100 and 30,100)"
    )
    parser.add_argument("--depths", metavar="N,N", help="depths of --train (default: 30,100)")
    parser.add_argument("--seed", type=int, default=0, help="seed of both (default: 0)")
    report_arguments(parser, "the numbers", page="a self-contained page with charts")
    parser.add_argument(
        "--check", action="store_true", help="exit with status 1 unless every constraint is met"
    )


def run(args: argparse.Namespace) -> int:
    """Build, check, print and write; 1 with --check when a constraint is not met."""
    pair = _pair(args)
    check = pair.check()
    facts: dict[str, str | float] = {"pair": pair.name, "E W²": pair.weights.variance, "split": pair.split}
    if args.samples:
        facts |= _sampled(pair, args.samples, args.seed)
    panels = _two_layer(pair, args) if args.two_layer else None
    deep = _in_depth(args) if args.experiment else ()
    trials = _trained(args) if args.train else ()
    if args.json != "-":
        print(pair.name)
        print(check)
        for name in ("ks", "ks_critical"):
            if name in facts:
                print(f"{name}: {facts[name]:.3g}")
        if panels is not None:
            for name, distances in panels.panels.items():
                cells = "  ".join(f"n={n}: {ks:.4f}" for n, ks in zip(panels.widths, distances, strict=True))
                print(f"KS of {name}  {cells}")
    if args.json:
        numbers = asdict(check) | facts
        numbers |= {"two_layer": panels.panels} if panels else {}
        numbers |= {"in_depth": [asdict(row) for row in deep]} if deep else {}
        numbers |= {"training": [asdict(row) for row in trials]} if trials else {}
        args.files.json(args.json, to_json(numbers, indent=2))
    if args.html:
        from firstlight.pairs.page import PairReport, pair_page

        report = PairReport(pair, check, facts, panels, deep, trials)
        args.files.write(args.html, lambda: pair_page(report))
    return 1 if args.check and not check.passed else 0


def _pair(args: argparse.Namespace) -> Pair:
    from firstlight import pairs, weights

    if args.law == "weibull":
        theta = 3.0 if args.theta is None else args.theta
        return pairs.weibull(theta, kind=args.kind, split=args.split)
    from firstlight.errors import DomainError

    if args.theta is not None or args.kind == "critical":
        raise DomainError(
            f"while building the pair of {args.law!r}: expected --theta and --kind critical only with weibull; write "
            "the parameters in brackets, such as 'chi(3)', and choose --split"
        )
    shares = {"odd": 0.5, "positive": 0.0}
    split = shares[args.kind] if args.split is None else args.split
    return pairs.partner(weights.get(args.law), split=split)


def _two_layer(pair: Pair, args: argparse.Namespace) -> TwoLayer:
    """The paper's two-layer experiment for this pair."""
    from firstlight.experiments.wolinski2025 import two_layer_ks

    widths = tuple(range(1, 11))
    return two_layer_ks(pair.activation, pair.weights, widths=widths, draws=args.two_layer, seed=args.seed)


def _in_depth(args: argparse.Namespace) -> tuple[InDepth, ...]:
    """The ensembles of ``--experiment``, each printed as it is finished."""
    from firstlight.experiments.wolinski2025.pairs_in_depth import WIDTHS, table

    names = _beside(args, "--experiment")

    def show(rows: Sequence[InDepth]) -> None:
        if args.json == "-":
            return
        first, last = rows[0], rows[-1]
        print(
            f"width {last.width}  {last.name}  KS {last.ks:.3f} ± {last.ks_se:.3f}  standardised "
            f"{last.standardised:.3f} ± {last.standardised_se:.3f}  log gradient "
            f"{first.log_grad - last.log_grad:.2f} ± {first.log_grad_se:.2f}  correlation "
            f"{last.correlation:.3f} ± {last.correlation_se:.3f}",
            flush=True,
        )

    widths = _sizes(args.widths, "--widths", WIDTHS)
    return table(names, widths, nets=args.experiment, seed=args.seed, on_rows=show)


def _trained(args: argparse.Namespace) -> tuple[Trial, ...]:
    """The runs of ``--train``, each network printed as its seeds and rates are finished."""
    from firstlight.experiments.wolinski2025.pairs_training import images, table

    names = _beside(args, "--train")
    widths, depths = _sizes(args.widths, "--widths", (30, 100)), _sizes(args.depths, "--depths", (30, 100))
    parts = images(args.data, directory=args.data_dir, count=args.images, seed=args.seed)

    def show(trial: Trial) -> None:
        if args.json != "-":
            print(
                f"depth {trial.depth}  width {trial.width}  {trial.name}  rate {trial.rate:g}  loss {trial.loss:.3f} ± "
                f"{trial.loss_se:.3f}  test accuracy {trial.accuracy:.3f} ± {trial.accuracy_se:.3f}",
                flush=True,
            )

    return table(names, depths=depths, widths=widths, epochs=args.train, parts=parts, on_trial=show)


def _sizes(text: str | None, flag: str, default: tuple[int, ...]) -> tuple[int, ...]:
    from firstlight.errors import DomainError

    if text is None:
        return default
    try:
        sizes = tuple(int(part) for part in text.split(","))
    except ValueError:
        sizes = (0,)
    if min(sizes) < 1:
        raise DomainError(
            f"while reading {flag}: expected positive whole numbers with commas between them, got {text!r}; write "
            f"them as in 30,100"
        )
    return sizes


def _beside(args: argparse.Namespace, flag: str) -> tuple[str, ...]:
    """The pair of the command and what it is compared with."""
    from firstlight.errors import DomainError

    if args.law != "weibull" or args.split is not None:
        raise DomainError(
            f"while comparing a pair with tanh and ReLU: expected a weibull pair with --kind, got another law or a "
            f"--split; leave out {flag}"
        )
    theta = 3.0 if args.theta is None else args.theta
    return f"{args.kind}({theta:g})", "tanh", "relu"


def _sampled(pair: Pair, samples: int, seed: int) -> dict[str, float]:
    """KS distance of W·φ(X) from N(0,1), over independent samples of the module in float32."""
    from firstlight.ensemble.runs.progress import progress_bar
    from firstlight.experiments.wolinski2025 import product_ks

    with progress_bar(samples, show=True, title="samples") as bar:
        return product_ks(pair, samples=samples, seed=seed, on_samples=bar.advance)
