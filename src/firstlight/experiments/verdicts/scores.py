"""Scores: every start audited as it begins, and scored by rivals; nothing here knows an outcome."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from firstlight.diagnosis import Verdict, diagnose
from firstlight.errors import FirstlightError
from firstlight.experiments.verdicts._lines import append, lines, short
from firstlight.experiments.verdicts.outcomes import OPTIMISERS, TRIED, tried
from firstlight.experiments.verdicts.rivals import gradient_span, rivals
from firstlight.experiments.verdicts.starts import Start, architecture, build, starts
from firstlight.experiments.verdicts.tasks import Tasks
from firstlight.probe import Protocol, measure
from firstlight.profile import Profile

AUDITED = 96  # samples
ORDER = {"healthy": 0, "note": 0, "warning": 1, "not judged": 2, "unhealthy": 3}


@dataclass(frozen=True)
class Finding:
    """One verdict of one start: its code, severity, deciding number and line."""

    code: str
    severity: str
    measured: float
    threshold: float


@dataclass(frozen=True)
class Score:
    """What the audit and the rivals say of one start.

    Attributes
    ----------
    start
        ``"architecture.start"``.
    findings
        The warnings and unhealthy verdicts, by optimiser where the audit tells them apart.
    measures
        Numbers of the audit's table; larger means sicker, NaN where a network has none.
    rivals
        As in `rivals`.
    trial
        For each optimiser, the losses of a trial after 3, 6 and 15 steps, in guesses, as `tried` gives them.
    """

    start: str
    findings: dict[str, tuple[Finding, ...]]
    measures: dict[str, float] = field(default_factory=dict)
    rivals: dict[str, float] = field(default_factory=dict)
    trial: dict[str, tuple[float, ...]] = field(default_factory=dict)

    def verdict(self, optimiser: str) -> int:
        """3 unhealthy, 2 not judged, 1 warning, 0 healthy."""
        return max((ORDER[f.severity] for f in self.findings[optimiser]), default=0)

    def severity(self, optimiser: str) -> float:
        """The verdict plus a tenth for every decade of 1 − c that is lost at the last weight layer, at most six.

        Within a verdict the starts are ordered by what tells samples apart there, which a readout learns from.
        """
        return self.verdict(optimiser) + 0.1 * self._decades_lost

    def conditioned(self, optimiser: str) -> float:
        """The verdict plus a twentieth for every decade of 1 − c that is lost and of the tangent kernel's condition.

        Gradient descent moves the slowest direction of the kernel by as many times less than the fastest one as the
        condition says (Jacot et al., NeurIPS 2018; Xiao et al., ICML 2020). Each counts at most six decades.
        """
        condition = self.rivals.get("NTK condition", math.nan)
        decades = 0.0 if math.isnan(condition) else min(max(condition / math.log(10.0), 0.0), 6.0)
        return self.verdict(optimiser) + 0.05 * (self._decades_lost + decades)

    def aligned(self, optimiser: str) -> float:
        """The verdict plus 1 − A, the alignment of the tangent kernel with the classes; NaN where A is not known.

        Within a verdict the starts are ordered by how little of what gradient descent moves first is the classes.
        """
        return self.verdict(optimiser) + self.rivals.get("1 − NTK alignment", math.nan)

    def learning(self, optimiser: str, steps: int) -> float:
        """The loss that a trial of so many steps leaves, in guesses and at most 1; NaN where no trial was made."""
        known = self.trial.get(optimiser)
        return math.nan if known is None else min(known[TRIED.index(steps)], 1.0)

    @property
    def _decades_lost(self) -> float:
        c = self.measures.get("correlation at the end", math.nan)
        return 0.0 if math.isnan(c) else -math.log10(min(max(1.0 - c, 1e-6), 1.0))


def audited(start: Start, tasks: Tasks, *, seed: int = 0) -> Score:
    """Audit a start on the first samples of its task, with the classes as targets."""
    x, y, model = _subject(start, tasks, seed)
    try:
        measurement = measure(model, x, Protocol(y))
    except FirstlightError as error:  # a network that cannot be audited is one that was not judged
        missing = (Finding(type(error).__name__, "not judged", math.nan, math.nan),)
        return Score(start.identity, dict.fromkeys(OPTIMISERS, missing))
    found = {name: _findings(diagnose(measurement, optimiser=name)) for name in OPTIMISERS}
    measures = _measures(measurement.profile) | {"span of ∂L/∂W": gradient_span(model, x, y)}
    return Score(start.identity, found, measures)


def _subject(start: Start, tasks: Tasks, seed: int) -> tuple[Tensor, Tensor, nn.Module]:
    inputs, targets, features, length = tasks.samples(start.architecture)
    return inputs[:AUDITED], targets[:AUDITED], build(start, features, length, seed=seed)


def _findings(verdicts: Sequence[Verdict]) -> tuple[Finding, ...]:
    return tuple(
        Finding(v.code, v.severity, _number(v.measured), _number(v.threshold))
        for v in verdicts
        if v.severity in ("warning", "not judged", "unhealthy")
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _measures(profile: Profile) -> dict[str, float]:
    """Single numbers of the weight rows: spans over depth, and ends."""
    rows = profile.select("weight")

    def known(column: str) -> np.ndarray:
        values = np.asarray(rows[column], float)
        return values[np.isfinite(values)]

    def span(values: np.ndarray) -> float:
        return float(np.ptp(values)) if len(values) > 1 else math.nan

    with np.errstate(divide="ignore", invalid="ignore"):
        q = np.log(known("q"))
        chi = np.log(known("chi"))
    gradient, correlation, rank = known("log_grad"), known("correlation"), known("effective_rank")
    chi, q = chi[np.isfinite(chi)], q[np.isfinite(q)]
    return {
        "span of ∂L/∂z": span(gradient),
        "span of q": span(q),
        "|Σ ln χ₁|": abs(float(chi.sum())) if len(chi) else math.nan,
        "correlation at the end": float(correlation[-1]) if len(correlation) else math.nan,
        "1 / effective rank": 1.0 / max(float(rank[:-1].min()), 1e-9) if len(rank) > 1 else math.nan,
    }


def run_audits(path: str | Path, identities: Sequence[str], tasks: Tasks, *, seed: int = 0) -> Iterator[str]:
    """Audit the starts that the file does not hold yet, one line each; gives each start's name as it is done."""
    target = Path(path)
    for start in _missing(target, identities, seed):
        one = audited(start, tasks, seed=seed)
        findings = {
            name: [[f.code, f.severity, short(f.measured), short(f.threshold)] for f in found]
            for name, found in one.findings.items()
        }
        measures = {name: short(value) for name, value in one.measures.items()}
        append(target, {"start": one.start, "findings": findings, "measures": measures})
        yield one.start


def run_rivals(path: str | Path, identities: Sequence[str], tasks: Tasks, *, seed: int = 0) -> Iterator[str]:
    """Score by every rival the starts that the file does not hold yet, as `run_audits` does."""
    target = Path(path)
    for start in _missing(target, identities, seed):
        x, y, model = _subject(start, tasks, seed)
        found = {name: short(value) for name, value in rivals(model, x, y).items()}
        append(target, {"start": start.identity, "rivals": found})
        yield start.identity


def run_trials(path: str | Path, identities: Sequence[str], tasks: Tasks, *, seed: int = 0) -> Iterator[str]:
    """Make the trials of the starts that the file does not hold yet, as `run_audits` does; whole architectures."""
    target = Path(path)
    done: set[int] = set()
    for start in _missing(target, identities, seed):
        one = start.architecture
        if one.number in done:
            continue
        done.add(one.number)
        for mine, found in zip(
            starts(one, seed=seed), tried(one, tasks, count=AUDITED, seed=seed), strict=True
        ):
            trial = {name: [short(loss) for loss in losses] for name, losses in found.items()}
            append(target, {"start": mine.identity, "trial": trial})
            yield mine.identity


def read_scores(
    audits: str | Path, rivals: str | Path | None = None, trials: str | Path | None = None
) -> list[Score]:
    """The audits in a file that `run_audits` wrote, each with what rivals and trials say, where their files have it."""
    others = {} if rivals is None else {line["start"]: line["rivals"] for line in lines(Path(rivals))}
    tries = {} if trials is None else {line["start"]: line["trial"] for line in lines(Path(trials))}
    found = []
    for line in lines(Path(audits)):
        findings = {
            name: tuple(Finding(code, severity, float(m), float(t)) for code, severity, m, t in given)
            for name, given in line["findings"].items()
        }
        trial = {name: tuple(map(float, losses)) for name, losses in tries.get(line["start"], {}).items()}
        found.append(Score(line["start"], findings, line["measures"], others.get(line["start"], {}), trial))
    return found


def _missing(path: Path, identities: Sequence[str], seed: int) -> Iterator[Start]:
    known = {line["start"] for line in lines(path)}
    for identity in identities:
        if identity not in known:
            number, which = map(int, identity.split("."))
            yield starts(architecture(number, seed=seed), seed=seed)[which]
