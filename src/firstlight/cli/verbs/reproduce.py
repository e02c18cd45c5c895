"""``firstlight reproduce``: an experiment of a paper in one command, with its table and its picture."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from firstlight.cli.outputs import output_file, output_folder, output_json
from firstlight.errors import LoadError
from firstlight.files import named_inside

SUMMARY = "reproduce an experiment of a paper: E1, correlations of images; E2, deep KS distances"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``firstlight reproduce``."""
    from firstlight.cli.verbs.simulate import add_engine_arguments
    from firstlight.experiments.studies import STUDIES

    names = [study.name for study in STUDIES]
    parser.add_argument(
        "study", nargs="?", choices=names, help="without a study: list the studies and their cost"
    )
    parser.add_argument(
        "--train", action="store_true", help="verdicts: train anew instead of reading stored outcomes"
    )
    parser.add_argument("--networks", metavar="N;N;…", help="such as 'tanh;relu;odd(3);positive(3)'")
    parser.add_argument("--widths", metavar="N,N,…", help="default: 10,100 for E1, 3,10,30,100,1000 for E2")
    parser.add_argument(
        "--nets", type=int, help="random networks (default: 1000 for E1, 10000 for E2, 600 for verdicts)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the networks (default: 0)")
    parser.add_argument("--data", default="cifar10", help="images of E1 (default: cifar10)")
    parser.add_argument("--data-dir", metavar="DIR", help="torchvision's data folder, for E1 and verdicts")
    parser.add_argument(
        "--per-class", type=int, default=10, help="images of each class, for E1 (default: 10)"
    )
    parser.add_argument(
        "--out",
        type=output_folder,
        metavar="DIR",
        help="folder of the runs of E2 and verdicts; what is finished is kept there",
    )
    parser.add_argument("--resume", action="store_true", help="finish the runs in --out")
    add_engine_arguments(parser)
    parser.add_argument(
        "--html", type=output_file, metavar="PATH", help="write a self-contained page with the figure"
    )
    parser.add_argument("--json", type=output_json, metavar="PATH", help="write the numbers as JSON")


def run(args: argparse.Namespace) -> int:
    """Compute, print and write, or list the studies; 0."""
    if args.study is None:
        from firstlight.experiments.studies import study_table

        print(study_table())
        return 0
    from firstlight.experiments import page as experiments
    from firstlight.files import to_json
    from firstlight.render.page import page

    if args.study == "verdicts":
        return _verdicts(args)
    first = args.study == "E1"
    rows, sections = _correlations(args) if first else _deep_ks(args)
    args.files.json(args.json, to_json(rows, indent=1))
    if args.html is not None:
        title = "Propagation of correlations" if first else "Deep Kolmogorov–Smirnov distances"
        about = experiments.CORRELATIONS if first else experiments.DEEP_KS
        args.files.write(args.html, page(title, *sections, subtitle=about))
    return 0


def _verdicts(args: argparse.Namespace) -> int:
    from firstlight.experiments import verdicts
    from firstlight.files import to_json
    from firstlight.render.page import page

    made = verdicts.reproduce(
        starts=args.nets,
        train=args.train,
        out=args.out,
        directory=args.data_dir,
        seed=args.seed,
        tell=lambda line: print(line, file=sys.stderr, flush=True),
    )
    if made.left_out:
        print(f"left out for want of MNIST (--data-dir, FIRSTLIGHT_DATA): {len(made.left_out)} architectures")
    halves = [made.half(which) for which in ("held out", "training")]
    print("\n".join(verdicts.study_text(half) for half in halves))
    if args.out is not None:
        table = str(Path(args.out) / "verdicts.csv")
        args.files.write(table, lambda: verdicts.tidy(made.outcomes, made.scores))
    args.files.json(args.json, to_json([half.to_dict() for half in halves], indent=1))
    if args.html is not None:
        sections = [part for half in halves for part in verdicts.study_sections(half)]
        whole = page("Do verdicts predict training?", *sections, subtitle=verdicts.ABOUT)
        args.files.write(args.html, whole)
    return 0


def _widths(args: argparse.Namespace, default: tuple[int, ...]) -> tuple[int, ...]:
    if args.widths is None:
        return default
    try:
        return tuple(int(part) for part in args.widths.split(","))
    except ValueError as error:
        raise LoadError(
            f"while reading --widths: expected numbers such as 10,100, got {args.widths!r}"
        ) from error


def _correlations(args: argparse.Namespace) -> tuple[list[dict[str, Any]], list[Any]]:
    from firstlight.cli.verbs.simulate import engine_of
    from firstlight.experiments import wolinski2025_ensembles as paper
    from firstlight.experiments.page import correlation_section, correlation_table

    inputs, labels = paper.images(args.data, per_class=args.per_class, directory=args.data_dir)
    rows, sections = [], []
    for name in (args.networks or "tanh;relu").split(";"):
        for width in _widths(args, (10, 100)):
            result = paper.correlations(
                name,
                width=width,
                inputs=inputs,
                labels=labels,
                nets=args.nets or 1000,
                seed=args.seed,
                engine=engine_of(args),
            )
            for i, layer in enumerate(result.layers):
                row = {
                    "network": name,
                    "width": width,
                    "layer": layer,
                    "pooled": result.mean_pooled[i],
                    "pooled_se": result.se_pooled[i],
                    "per_network": result.mean_per_network[i],
                    "per_network_se": result.se_per_network[i],
                    "per_network_dead_as_0": result.mean_counting_dead[i],
                    "defined": result.defined[i],
                }
                rows.append(row)
                _print(row)
            sections.append(correlation_section(result))
    return rows, [*sections, correlation_table(rows)]


def _deep_ks(args: argparse.Namespace) -> tuple[list[dict[str, Any]], list[Any]]:
    from firstlight.cli.verbs.simulate import engine_of
    from firstlight.experiments import wolinski2025_ensembles as paper
    from firstlight.experiments.page import deep_ks_section

    names = args.networks.split(";") if args.networks else list(paper.deep_ks_networks())
    rows, sections = [], []
    for width in _widths(args, paper.E2_WIDTHS):
        results = []
        for name in names:
            out = None if args.out is None else named_inside(args.out, f"{name}-{width}", "")
            result = paper.deep_ks(
                name,
                width=width,
                nets=args.nets or paper.E2_NETS,
                seed=args.seed,
                engine=engine_of(args),
                out=out,
                resume=args.resume,
            )
            results.append(result)
            for i, depth in enumerate(result.depth):
                rows.append(
                    {"network": name, "width": width, "layer": int(depth)}
                    | {
                        k: float(getattr(result, k)[i])
                        for k in ("raw", "raw_se", "standardised", "standardised_se")
                    }
                )
            _print(rows[-1])
        sections.append(deep_ks_section(width, results))
    return rows, sections


def _print(row: dict[str, Any]) -> None:
    cells = (f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())
    print("  ".join(cells), file=sys.stdout, flush=True)
