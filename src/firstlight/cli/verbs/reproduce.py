"""``firstlight reproduce``: an experiment of a paper in one command, with its claims judged and its picture."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from firstlight.cli.outputs import STDOUT, output_folder, report_arguments
from firstlight.errors import LoadError

if TYPE_CHECKING:
    from firstlight.experiments import Settings, Study, StudyResult

SUMMARY = "reproduce an experiment of a paper, judge its claims, and draw its figure"
# flags that set a size by a name of their own
_SHORT = {
    "networks": "such as 'tanh;relu;odd(3);positive(3)'",
    "widths": "such as 10,100",
    "nets": "random networks",
    "per_class": "images of each class",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``firstlight reproduce``."""
    from firstlight.cli.verbs.simulate import add_engine_arguments

    parser.add_argument(
        "study",
        nargs="?",
        help="such as wolinski2025/correlations; without one: list the studies and their cost",
    )
    parser.add_argument("--all", action="store_true", help="run every study, for one page")
    parser.add_argument(
        "--stored", action="store_true", help="show the stored result of a long run; nothing is run"
    )
    parser.add_argument("--scale", choices=("quick", "paper"), default="quick", help="sizes (default: quick)")
    parser.add_argument("--data", help="an image set in place of the study's own, such as digits")
    parser.add_argument("--data-dir", metavar="DIR", help="torchvision's data folder")
    parser.add_argument("--download", action="store_true", help="fetch missing image sets first")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything that is drawn (default: 0)")
    sizes = parser.add_argument_group("sizes in place of the scale's")
    for name, text in _SHORT.items():
        sizes.add_argument(f"--{name.replace('_', '-')}", metavar="N", help=text)
    sizes.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="any size of the study"
    )
    parser.add_argument(
        "--out", type=output_folder, metavar="DIR", help="folder of the runs; what is finished is kept there"
    )
    parser.add_argument("--resume", action="store_true", help="finish the runs in --out")
    add_engine_arguments(parser)
    report_arguments(parser, "rows, claims and facts", page="a self-contained page")


def run(args: argparse.Namespace) -> int:
    """Compute, print and write, or list the studies; 0."""
    from firstlight import experiments

    _check(args)
    if args.study is None and not args.all:
        known = experiments.stored_names()
        print(
            experiments.study_table(
                [one for one in experiments.studies() if not args.stored or one.name in known]
            )
        )
        return 0
    chosen = experiments.studies() if args.all else (experiments.find(args.study),)
    if args.stored and args.all:
        known = experiments.stored_names()
        chosen = tuple(study for study in chosen if study.name in known)
    results, left_out = _results(chosen, args)
    _write(results, left_out, args)
    return 0


def _check(args: argparse.Namespace) -> None:
    """Refuse what does not go together.

    Raises
    ------
    LoadError
        A study and ``--all``, outputs without either, or settings of a run beside a stored result.
    """
    if args.study is not None and args.all:
        raise LoadError(f"while reading the arguments: expected a study or --all, got {args.study} and --all")
    ran = [flag for flag in ("data", "out", "resume", "download", "set", *_SHORT) if getattr(args, flag)]
    asked = ran + [flag for flag in ("html", "json") if getattr(args, flag)]
    if args.study is None and not args.all and asked:
        raise LoadError(
            f"while reading the arguments: expected a study or --all with --{asked[0].replace('_', '-')}, got neither; "
            "`firstlight reproduce` alone lists the studies"
        )
    if args.stored and ran:
        raise LoadError(
            f"while reading the arguments: expected --stored without settings of a run, got --"
            f"{ran[0].replace('_', '-')} too; a stored result is shown as it is"
        )


def _results(chosen: Sequence[Study], args: argparse.Namespace) -> tuple[list[StudyResult], dict[str, str]]:
    """Results in order; of many studies, those whose data is missing are left out."""
    from firstlight import experiments

    results: list[StudyResult] = []
    left_out: dict[str, str] = {}
    for study in chosen:
        try:
            one = experiments.stored(study.name) if args.stored else _run(study, args)
        except LoadError as error:
            if not args.all:
                raise
            left_out[study.name] = str(error)
            _tell(f"{study.name} is left out: {error}")
            continue
        results.append(one)
        if args.json != STDOUT:
            print(one, flush=True)
    return results, left_out


def _run(study: Study, args: argparse.Namespace) -> StudyResult:
    """Check what was asked for, say what it costs, and run it."""
    from firstlight import experiments
    from firstlight.experiments.running import fetch_data, filled

    settings = _settings(study, args)
    ready = filled(study, settings)
    _tell(f"{study.name}, {args.scale} scale, costs {study.cost[args.scale]}; needs data: {study.data}")
    if settings.sizes:
        _tell(f"this run sets {', '.join(settings.sizes)}, so its cost is another")
    if settings.out is not None and not study.keeps_runs:
        _tell(f"{study.name} is short and keeps nothing in {settings.out}; its result goes to --json")
    if args.download:
        fetch_data(study, ready)
    return experiments.run(study, settings)


def _settings(study: Study, args: argparse.Namespace) -> Settings:
    from firstlight.cli.verbs.simulate import engine_of
    from firstlight.experiments import Settings

    given = [(name, getattr(args, name)) for name in _SHORT if getattr(args, name) is not None]
    for pair in args.set:
        name, equals, text = pair.partition("=")
        if not equals:
            raise LoadError(f"while reading --set: expected NAME=VALUE such as nets=200, got {pair!r}")
        given.append((name, text))
    sizes = {name: _value(name, text) for name, text in given}
    if len(sizes) < len(given):
        twice = next(name for i, (name, _) in enumerate(given) if name in dict(given[:i]))
        raise LoadError(f"while reading --set: expected each size once, got {twice!r} twice; leave one away")
    data = args.data
    if args.all:
        sizes = {name: value for name, value in sizes.items() if name in study.sizes}
        data = data if study.takes_images else None
    out = None if args.out is None else Path(args.out, *(study.name.split("/") if args.all else ()))
    return Settings(
        scale=args.scale, data=data, directory=args.data_dir, seed=args.seed, out=out, resume=args.resume,
        engine=engine_of(args), sizes=sizes, tell=_tell,
    )  # fmt: skip


def _value(name: str, text: str) -> object:
    """A number, true or false, a text, or several of one kind: after ``;`` or, of numbers, after ``,``."""
    separator = ";" if ";" in text or "(" in text else ","
    # a network is named, and its name may have any form
    read = str if name == "networks" else _word
    parts = [read(part.strip()) for part in text.split(separator)]
    return parts[0] if len(parts) == 1 else tuple(parts)


def _word(text: str) -> bool | int | float | str:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _write(results: Sequence[StudyResult], left_out: dict[str, str], args: argparse.Namespace) -> None:
    from firstlight.experiments import studies_page

    if args.all:
        text = "[" + ",\n".join(one.to_json() for one in results) + "]"
        args.files.json(args.json, text)
        args.files.write(args.html, lambda: studies_page(results, left_out=left_out))
    else:
        args.files.json(args.json, results[0].to_json())
        args.files.write(args.html, results[0].to_html)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
