"""Choose the verb, load its module, run it, and turn errors made on purpose into one line and status 2."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from firstlight._version import __version__
from firstlight.cli.outputs import checked_outputs
from firstlight.cli.progress import progress_lines
from firstlight.cli.streams import Kept, kept_output, say
from firstlight.errors import FirstlightError

HEALTHY, UNHEALTHY, USAGE, INTERRUPTED = 0, 1, 2, 130
# set, it lets an error that nobody foresaw through with its traceback
TRACEBACK = "FIRSTLIGHT_TRACEBACK"


@dataclass(frozen=True)
class Verb:
    """Where a verb lives, and what it does in one line.

    The module has ``configure(parser)``, which adds the verb's arguments, and ``run(args) -> int``, which
    does the work and returns the exit status. The module is imported only when the verb is asked for, so that
    ``--help`` and ``--version`` need not wait for torch.
    """

    module: str
    summary: str


VERBS: dict[str, Verb] = {
    "audit": Verb(
        "firstlight.cli.verbs.audit", "measure how signals and gradients travel through a PyTorch model"
    ),
    "fix": Verb(
        "firstlight.cli.verbs.fix",
        "fix how a PyTorch model starts, and show by the same audit that the fix helps",
    ),
    "init": Verb(
        "firstlight.cli.verbs.init",
        "give a model the start that a recipe names, or rank the recipes that suit",
    ),
    "recipes": Verb("firstlight.cli.verbs.recipes", "list the starts that there are, and what each is for"),
    "pair": Verb(
        "firstlight.cli.verbs.pair",
        "an activation and a weight law that keep pre-activations N(0,1), with the proof by numbers",
    ),
    "edge": Verb("firstlight.cli.verbs.edge", "trace the edge of chaos of an activation"),
    "plot": Verb(
        "firstlight.cli.verbs.plot", "draw the table of a sweep: a heat map, or lines against depth"
    ),
    "reproduce": Verb(
        "firstlight.cli.verbs.reproduce", "reproduce an experiment of a paper, with its picture"
    ),
    "predict": Verb("firstlight.cli.verbs.predict", "predict signals and gradients of a random network"),
    "simulate": Verb(
        "firstlight.cli.verbs.simulate", "sample thousands of random networks exactly and report their layers"
    ),
    "train": Verb(
        "firstlight.cli.verbs.train", "train several seeds of a network together by a paper's protocol"
    ),
    "bn": Verb("firstlight.cli.verbs.bn", "predict and measure a batch-normalised network of any depth"),
}


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line on stderr, without the usage text."""

    def error(self, message: str) -> NoReturn:
        """Leave with status 2 and one line that says what is wrong and where help is."""
        # arguments that argparse quotes as they came may hold line ends and escapes
        message = "".join(c if c.isprintable() else repr(c)[1:-1] for c in message)
        self.exit(USAGE, f"{self.prog}: error: {message} (see `{self.prog} --help`)\n")

    def check(self, args: argparse.Namespace) -> None:
        """Refuse what every verb would fail on: a flag whose value is ``--``, and a seed that torch cannot take."""
        for action in self._actions:
            value = getattr(args, action.dest, None)
            several = isinstance(action, argparse._AppendAction)
            if action.option_strings and action.nargs is None and isinstance(value, list) and not several:
                self.error(f"argument {action.option_strings[-1]}: expected one argument, got '--'")
        if not -(2**63) <= (getattr(args, "seed", 0) or 0) < 2**63:
            self.error(f"argument --seed: expected a whole number below 2⁶³, got {args.seed}")


def _front() -> Parser:
    width = max(len(name) for name in VERBS)
    verbs = "\n".join(f"  {name:<{width}}  {verb.summary}" for name, verb in VERBS.items())
    parser = Parser(
        prog="firstlight",
        description="Know how signals and gradients travel through a deep network before you train it.",
        epilog=f"verbs:\n{verbs}\n\n`firstlight VERB --help` tells more about each.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"firstlight {__version__}")
    parser.add_argument("verb", metavar="VERB", choices=sorted(VERBS), help="one of the verbs below")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="arguments of the verb")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; its exit status: 0 fine, 1 unhealthy with ``--check``, 2 usage or load error.

    Examples
    --------
    >>> from firstlight.cli import main
    >>> try:
    ...     main(["--version"])
    ... except SystemExit as leave:
    ...     print(leave.code)
    firstlight ...
    0
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a console without σ shows a question mark, not a traceback
    chosen = _front().parse_args(argv)
    verb = VERBS[chosen.verb]
    module = importlib.import_module(verb.module)
    parser = Parser(
        prog=f"firstlight {chosen.verb}", description=verb.summary[0].upper() + verb.summary[1:] + "."
    )
    module.configure(parser)
    args = parser.parse_args(chosen.arguments)
    parser.check(args)
    with kept_output() as out:
        status = _attempt(chosen.verb, module, parser, args)
        out.flush()
    return _ended(chosen.verb, out, status)


def _attempt(verb: str, module: Any, parser: Parser, args: argparse.Namespace) -> int:
    """Run the verb; its status, with every error said in one line."""
    try:
        args.files = checked_outputs(parser, args)
        with progress_lines():
            status = int(module.run(args))
    except FirstlightError as error:
        say(f"firstlight {verb}: error: {error}")
        return USAGE
    except KeyboardInterrupt:
        say(f"firstlight {verb}: interrupted")
        return INTERRUPTED
    except Exception as error:
        if os.environ.get(TRACEBACK):
            raise
        say(
            f"firstlight {verb}: error: unexpected {type(error).__name__}: {error} (set {TRACEBACK}=1 to see where)"
        )
        return USAGE
    if args.files.failures:
        say(f"firstlight {verb}: error: {'; '.join(map(str, args.files.failures))}; all else was written")
        return USAGE
    return status


def _ended(verb: str, out: Kept, status: int) -> int:
    """The status, or 2 when standard output did not take everything; the files are written all the same."""
    if out.failure is None:
        return status
    out.give_up()
    # the reader of the output may stop early (`| head`), and then knows that
    if not isinstance(out.failure, BrokenPipeError):
        reason = getattr(out.failure, "strerror", None) or out.failure
        say(
            f"firstlight {verb}: error: while writing to standard output: expected that it takes all, got: {reason}; "
            "files that were asked for are written"
        )
    return USAGE
