"""The whole study in one call: stored or new outcomes, audits of today, and the numbers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from firstlight.errors import DomainError, LoadError
from firstlight.experiments.verdicts.outcomes import STEPS, Outcome, read, run
from firstlight.experiments.verdicts.report import VerdictStudy, verdict_study
from firstlight.experiments.verdicts.scores import Score, read_scores, run_audits, run_rivals, run_trials
from firstlight.experiments.verdicts.starts import STARTS, architecture, number_at
from firstlight.experiments.verdicts.tasks import Tasks

STORED = Path(__file__).parent / "stored"


@dataclass(frozen=True)
class Reproduced:
    """What a run of the study gave.

    Attributes
    ----------
    outcomes, scores
        How the starts trained, and what was said of them.
    left_out
        Architectures whose data is not there, by number.
    """

    outcomes: tuple[Outcome, ...]
    scores: tuple[Score, ...]
    left_out: tuple[int, ...]

    def half(self, which: str) -> VerdictStudy:
        """The study of ``"training"``, ``"held out"``, ``"fresh"``, ``"new kinds"`` or ``"all"`` architectures."""
        if which not in ("training", "held out", "fresh", "new kinds", "all"):
            raise DomainError(
                f"while reading the study: expected training, held out, fresh, new kinds or all, got {which!r}"
            )
        return verdict_study(self.outcomes, self.scores, which)  # type: ignore[arg-type]


def reproduce(
    *,
    starts: int | None = None,
    train: bool = False,
    out: str | Path | None = None,
    directory: str | None = None,
    steps: int = STEPS,
    seed: int = 0,
    tell: Callable[[str], object] | None = None,
) -> Reproduced:
    """Audit the starts of the study as they begin, and set the verdicts against how the starts trained.

    Outcomes do not depend on verdicts, so they are stored with the package; audits are made anew, with the rules of
    today. A run with ``out`` goes on where it was stopped.

    Parameters
    ----------
    starts
        How many starts, four to an architecture, the fresh ones last; all stored ones by default.
    train
        Whether to train anew, and to score by trials and by the rivals that are installed, in place of what is stored.
    out
        Folder for what is made; a temporary one by default.
    directory
        Where MNIST and Fashion-MNIST lie; the variable ``FIRSTLIGHT_DATA`` by default. Without it, their
        architectures are left out.
    steps, seed
        Steps of each training, and the draw of the study, for a new training.
    tell
        Called with a line each time something is done.

    Raises
    ------
    DomainError
        If ``starts`` is not positive, or other steps or another seed are asked for without ``train``.

    Examples
    --------
    >>> from firstlight.experiments import verdicts
    >>> small = verdicts.reproduce(starts=4)
    >>> len(small.outcomes), sorted(small.scores[0].findings)
    (4, ['adam', 'sgd'])
    """
    if (starts is not None and starts < 1) or (not train and (steps, seed) != (STEPS, 0)):
        raise DomainError(
            f"while reproducing the study of verdicts: expected starts ≥ 1, and train=True for other steps or another "
            f"seed than are stored, got starts = {starts}, steps = {steps}, seed = {seed}"
        )
    say = tell or (lambda _: None)
    tasks = Tasks(directory)
    stored = read(STORED / "outcomes.jsonl")
    count = -(-(starts or len(stored) or 600) // len(STARTS))
    wanted, missing = _with_data([number_at(place) for place in range(count)], tasks, seed)
    with ExitStack() as stack:
        folder = Path(out) if out is not None else Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        if train:
            for one, _ in run(folder / "outcomes.jsonl", numbers=wanted, tasks=tasks, steps=steps, seed=seed):
                say(f"trained {one.number}: {one.family}, {one.data}, depth {one.depth}")
        outcomes = read(folder / "outcomes.jsonl") if train else stored
        chosen = set(wanted)
        outcomes = [o for o in outcomes if int(o.start.split(".")[0]) in chosen]
        names = [o.start for o in outcomes]
        for number, name in enumerate(run_audits(folder / "audits.jsonl", names, tasks, seed=seed), start=1):
            if number % 40 == 0:
                say(f"audited {name}, {number} in this run")
        place = folder if train else STORED
        others, trials = place / "rivals.jsonl", place / "trials.jsonl"
        if train:
            for _ in (
                *run_rivals(others, names, tasks, seed=seed),
                *run_trials(trials, names, tasks, seed=seed),
            ):
                pass
        known = set(names)
        found = read_scores(folder / "audits.jsonl", others, trials)
        scores = [one for one in found if one.start in known]
    return Reproduced(tuple(outcomes), tuple(scores), tuple(missing))


def repeated() -> tuple[list[Outcome], ...]:
    """Stored outcomes for each order of the batches: of every start, then of those that were trained twice more.

    Examples
    --------
    >>> from firstlight.experiments import verdicts
    >>> len(verdicts.repeated())
    3
    """
    again = (read(STORED / "repeats.jsonl", order=order) for order in (1, 2))
    return (read(STORED / "outcomes.jsonl"), *again)


def _with_data(numbers: Sequence[int], tasks: Tasks, seed: int) -> tuple[list[int], list[int]]:
    """Architectures whose data can be read, and the others."""
    readable: dict[str, bool] = {}
    found: tuple[list[int], list[int]] = ([], [])
    for number in numbers:
        one = architecture(number, seed=seed)
        if one.data not in readable:
            try:
                tasks.samples(one)
                readable[one.data] = True
            except LoadError:
                readable[one.data] = False
        found[0 if readable[one.data] else 1].append(number)
    return found
