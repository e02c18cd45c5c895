"""``firstlight recipes``: the starts that there are, what each is for, needs and changes, and its source."""

from __future__ import annotations

import argparse
import textwrap
from dataclasses import fields

from firstlight.cli.outputs import STDOUT, output_json


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``firstlight recipes``."""
    parser.add_argument("names", nargs="*", help="only these recipes")
    parser.add_argument(
        "--json",
        type=output_json,
        metavar="PATH",
        help="write the list as JSON; `-` for standard output, alone",
    )


def run(args: argparse.Namespace) -> int:
    """Print the list; 0."""
    from firstlight.files import to_json
    from firstlight.recipes import RECIPES, get

    kinds = [type(get(name)) for name in args.names] or list(RECIPES.values())
    rows = [
        {
            "name": kind.word,
            "purpose": kind.purpose,
            "needs": list(kind.needs),
            "changes": list(kind.changes),
            "parameters": {f.name: f.default for f in fields(kind)},
            "source": kind.source,
        }
        for kind in kinds
    ]
    if args.json != STDOUT:
        for kind in kinds:
            parameters = ", ".join(f"{f.name}={f.default!r}" for f in fields(kind))
            print(kind.word + (f"({parameters})" if parameters else ""))
            needs = ", ".join(kind.needs) or "nothing"
            for line in (kind.purpose, f"needs {needs}; changes {', '.join(kind.changes)}", kind.source):
                print(textwrap.indent(textwrap.fill(line, 96), "    "))
    args.files.json(args.json, to_json(rows, indent=1))
    return 0
