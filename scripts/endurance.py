"""Endurance by command: kill runs at random moments and compare their final bits, and throw arguments at the verbs.

python scripts/endurance.py kill --kills 50
python scripts/endurance.py fuzz --cases 1000
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from firstlight import builders, training
from firstlight.cli import main as firstlight
from firstlight.cli.command import VERBS, Parser
from firstlight.data import Dataset
from firstlight.ensemble import Plan, run
from firstlight.ensemble.runs.sweep import Sweep, run_sweep
from firstlight.network import RandomNetwork

SWEEP = (
    "[network]\ndepth=6\nwidth=20\n[grid]\nsigma_w=[1.0,1.5]\nsigma_b=[0.0,0.1]\n[run]\nnets=120\nshards=4\n"
    "gradients=true\n"
)


def ensemble(out: Path, *, resume: bool) -> None:
    """A run of twelve shards."""
    plan = Plan(net=RandomNetwork(depth=8, width=30, sigma_w=1.3), nets=240, shards=12, gradients=True)
    run(plan, torch.linspace(-1, 1, 30).view(3, 10), out=out, resume=resume)


def sweep(out: Path, *, resume: bool) -> None:
    """A sweep of four cells."""
    run_sweep(Sweep.parse(SWEEP), out=out, resume=resume)


def learning(out: Path, *, resume: bool) -> None:
    """Twelve epochs of a small network."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 16, generator=generator)
    data = Dataset(x, x[:, :4].argmax(dim=1), classes=4, name="task")
    model = builders.isometric_mlp(
        16, 4, depth=5, width=16, activation="sin", gain_exponent=0.4, generator=generator
    )
    training.train(model, data, data, epochs=12, batch=50, learning_rate=0.05, checkpoint=out / "run.pt")


WORKS: dict[str, Callable[..., None]] = {"ensemble": ensemble, "sweep": sweep, "training": learning}


def final_bits(out: Path) -> dict[str, bytes]:
    """Every file that a finished work leaves; of a checkpoint its weights and its history without wall times."""
    found = {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}
    for name in [name for name in found if name.endswith(".pt")]:
        state = training.load_checkpoint(out / name)
        rows = [{k: v for k, v in row.items() if k != "seconds"} for row in state["history"]]
        weights = b"".join(value.numpy().tobytes() for value in state["model"].values())
        found[name] = repr(rows).encode() + weights
    return found


def _child(work: Callable[..., None], out: Path, resume: bool) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 4
    try:
        work(out, resume=resume)
        status = 0
    except BaseException as error:
        print(f"   {type(error).__name__}: {error}", flush=True)
    finally:
        os._exit(status)


def kill(name: str, kills: int, *, seed: int = 0, folder: Path) -> Counter[str]:
    """Kill a work so often at random moments, resume it each time until it ends, and compare what it leaves.

    Returns
    -------
    Counter
        ``kills``, ``runs``, ``different`` and ``refused``.
    """
    work, rng, seen = (
        WORKS[name],
        random.Random(f"{name} {seed}"),
        Counter(kills=0, runs=0, different=0, refused=0),
    )
    work(folder / "warm", resume=False)
    start = time.perf_counter()
    work(folder / "whole", resume=False)
    span = time.perf_counter() - start
    want = final_bits(folder / "whole")
    while seen["kills"] < kills:
        out, resume, status = folder / f"run{seen['runs']}", False, 0
        seen["runs"] += 1
        while True:
            pid = _child(work, out, resume)
            if seen["kills"] < kills:
                # many early moments, where folders are made
                time.sleep(rng.choice([rng.uniform(0, 0.02), rng.uniform(0, span), rng.uniform(0, span)]))
                done, status = os.waitpid(pid, os.WNOHANG)
                if not done:
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                    seen["kills"] += 1
                    resume = True
                    continue
            else:
                status = os.waitpid(pid, 0)[1]
            break
        seen["refused"] += status != 0
        seen["different"] += status == 0 and final_bits(out) != want
        shutil.rmtree(out, ignore_errors=True)
    return seen


HOSTILE = [
    "", "0", "-1", "1", "3", "1e9", "99999999999999999999", "nan", "inf", "1e308", "-0.0", "abc", "--", "-", "../x",
    "/dev/null", "/nonexistent/x", "/", ".", "\x00", "\n", "ü σ", "'", "$(id)", "%s%n", "{}", "a,b", "1,2,3", ",",
    "tanh", "relu", "gelu", "weibull(3)", "weibull(nan)", "weibull(-1)", "weibull-odd(0)", "nan * uniform",
    "1e400 * normal", "batch", "digits", "mnist", "8", "0x3", "99999999x99999", "x.npz", "x.pt", "os:getcwd",
    "torch.nn:Identity", "nosuch:thing", "nosuch.py:thing", ":", "a:",
    "leaky_relu(0.1)", "elu(-1)", "poly(1,2)", "cauchy",
    "x" * 5000, "1" * 5000, "(" * 200, "\x1b[2J",
]  # fmt: skip
BASES = {
    "audit": ["audit", "mlp", "--depth", "3", "--width", "4", "--data", "8", "--batch", "6", "--quiet"],
    "fix": [
        "fix",
        "mlp",
        "--depth",
        "3",
        "--width",
        "4",
        "--data",
        "8",
        "--batch",
        "6",
        "--quiet",
        "--rounds",
        "1",
    ],
    "predict": ["predict", "mlp", "--depth", "3", "--width", "4"],
    "simulate": ["simulate", "mlp", "--depth", "3", "--width", "4", "--nets", "20", "--quiet"],
    "edge": ["edge", "tanh"],
    "pair": ["pair", "weibull", "--theta", "3"],
    "bn": ["bn", "--depth", "3", "--width", "4", "--data", "8", "--batch", "6"],
    "reproduce": ["reproduce", "E2", "--nets", "3", "--widths", "2", "--networks", "relu"],
    "plot": ["plot", "nowhere", "--html", "page.html"],
}
# what starts other processes, asks the network, or is large by itself
_LEFT_OUT = ("download", "dask", "ray", "workers", "experiment", "train", "help")


def command_line(rng: random.Random) -> list[str]:
    """A verb with one to three of its arguments replaced by hostile values."""
    verb = rng.choice(list(BASES))
    parser = Parser(prog=verb)
    importlib.import_module(VERBS[verb].module).configure(parser)
    flags = [a for a in parser._actions if a.option_strings and a.dest not in _LEFT_OUT]
    words = list(BASES[verb])
    for action in rng.sample(flags, min(len(flags), rng.choice([1, 1, 2, 3]))):
        value = rng.choice(HOSTILE)
        words += (
            [f"{action.option_strings[-1]}={value}"] if action.nargs != 0 else [action.option_strings[-1]]
        )
    if rng.random() < 0.1:
        words[1] = rng.choice(HOSTILE)
    return words


class _Late(BaseException):
    pass


@contextlib.contextmanager
def _within(seconds: int) -> Iterator[None]:
    def late(*_: Any) -> None:
        raise _Late

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def fault(words: list[str], *, seconds: int = 60) -> str:
    """What is wrong with the answer to a command line; empty where nothing is."""
    out, err = io.StringIO(), io.StringIO()
    status: Any = None
    try:
        with (
            _within(seconds), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err),
            warnings.catch_warnings(),
        ):  # fmt: skip
            warnings.simplefilter("ignore")
            status = firstlight(words)
    except SystemExit as leave:
        status = leave.code
    except _Late:
        return f"over {seconds} s"
    except BaseException as error:
        return f"escaped {type(error).__name__}: {error}"
    said = err.getvalue()
    if status not in (0, 1, 2):
        return f"status {status!r}"
    if "unexpected" in said:
        return f"unexpected: {said.strip()}"
    if status != 2:
        return ""
    if out.getvalue():
        return "an error below something printed"
    # a study says before what it costs, and slow work how far it is: neither is a part of the error
    news = ("wolinski2025/", "firstlight: ")
    errors = [line for line in said.splitlines() if line.strip() and not line.startswith(news)]
    return "" if len(errors) == 1 and ": error: " in errors[0] else f"{len(errors)} lines of error"


def fuzz(cases: int, *, seed: int = 0) -> list[tuple[list[str], str]]:
    """The command lines whose answer is wrong."""
    found = []
    for number in range(cases):
        words = command_line(random.Random(f"{seed} {number}"))
        wrong = fault(words)
        if wrong:
            found.append((words, wrong))
            print(wrong[:200], "|", " ".join(map(repr, words))[:300], flush=True)
    return found


def main() -> int:
    """Do what the command says; 1 where something was wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("kill", "fuzz"))
    parser.add_argument("--kills", type=int, default=50, help="kills of each kind of work")
    parser.add_argument("--cases", type=int, default=1000, help="command lines")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    wrong = 0
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        if args.what == "fuzz":
            wrong = len(fuzz(args.cases, seed=args.seed))
            print(f"{args.cases} command lines, {wrong} wrong answers")
        for name in WORKS if args.what == "kill" else ():
            (Path(folder) / name).mkdir()
            seen = kill(name, args.kills, seed=args.seed, folder=Path(folder) / name)
            wrong += seen["different"] + seen["refused"]
            print(name, ", ".join(f"{count} {what}" for what, count in seen.items()), flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
