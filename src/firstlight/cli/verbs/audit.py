"""``firstlight audit``: measure a model on data, print the table and the verdicts, write the reports."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

import torch

from firstlight.cli.auditing import (
    add_run_arguments,
    own_output_only,
    subject,
)
from firstlight.cli.batches import add_data_arguments
from firstlight.cli.command import HEALTHY, UNHEALTHY
from firstlight.cli.models import add_model_arguments
from firstlight.cli.outputs import STDOUT, report_arguments
from firstlight.errors import DomainError
from firstlight.measure import REPRESENTATION_MEASURES, chosen_measures

if TYPE_CHECKING:
    from firstlight.auditing import AuditResult

SUMMARY = "measure how signals and gradients travel through a PyTorch model"


def measure_names(text: str) -> tuple[str, ...]:
    """The names of measures in a text with commas between them."""
    try:
        names = [name.strip() for name in text.split(",") if name.strip()]
        return tuple(m.name for m in chosen_measures(names, "reading --measures"))
    except DomainError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``firstlight audit``."""
    add_model_arguments(parser)
    add_data_arguments(parser)
    add_run_arguments(parser)
    parser.add_argument(
        "--measures",
        type=measure_names,
        default=(),
        metavar="NAMES",
        help="measures of the representations to add as columns, with commas between them: "
        f"{', '.join(REPRESENTATION_MEASURES)}",
    )
    out = parser.add_argument_group("reports")
    report_arguments(out, "the result")
    out.add_argument(
        "--check", action="store_true", help="leave with status 1 if the model is unhealthy, or not judged"
    )
    out.add_argument(
        "--allow-unjudged",
        action="store_true",
        help="let a model pass `--check` of which too little was seen",
    )
    out.add_argument(
        "--min-coverage",
        type=float,
        metavar="SHARE",
        help="the share of the used parameters that must have a row for `--check` (default: 0.9)",
    )
    out.add_argument("--quiet", action="store_true", help="print no table")


def run(args: argparse.Namespace) -> int:
    """Audit, print and write; 0, or 1 with ``--check`` for a model that is unhealthy or not judged."""
    from firstlight import audit
    from firstlight.auditing import print_audit

    with own_output_only() as out, torch.random.fork_rng(devices=[]):
        model, batch, keywords = subject(args)
        result = audit(model, batch, **keywords, measures=args.measures)
        if args.json == STDOUT:
            args.files.json(args.json, result.to_json(), out)
        elif not args.quiet:
            print_audit(result, file=out)
            if not result.healthy:
                print(
                    "`firstlight fix`, with the same model and data, tries remedies and audits each.",
                    file=out,
                )
        if args.json != STDOUT:
            args.files.json(args.json, result.to_json() if args.json is not None else "")
        args.files.write(args.html, result.to_html)
    return _status(args, result)


def _status(args: argparse.Namespace, result: AuditResult) -> int:
    from firstlight.diagnosis import COVERED, not_judged

    if not args.check:
        return HEALTHY
    found = [verdict.code for verdict in result.verdicts if verdict.severity == "unhealthy"]
    if found:
        print(f"firstlight audit: unhealthy: {', '.join(found)}", file=sys.stderr)
        return UNHEALTHY
    line = COVERED if args.min_coverage is None else args.min_coverage
    unseen = () if args.allow_unjudged else not_judged(result.measurement, line)
    if unseen:
        print(f"firstlight audit: not judged: {unseen[0].evidence}", file=sys.stderr)
        return UNHEALTHY
    print("firstlight audit: healthy" if result.healthy else "firstlight audit: accepted", file=sys.stderr)
    return HEALTHY
