"""fix: try the remedies that a model's verdicts call for, the gentlest first, and keep what does no harm."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import nn

from firstlight.auditing.audit import examine
from firstlight.auditing.result import AuditResult
from firstlight.clean_room import clean, outside
from firstlight.errors import AuditError, DomainError, in_one_line, user_code
from firstlight.fixing._comparison import codes, enough, good, score, unimproved
from firstlight.fixing._named import as_remedy, chosen_remedies
from firstlight.fixing._training import (
    PLANS,
    batches_of,
    courses,
    guard,
    harm,
    learns_better,
    suited,
    trainable,
)
from firstlight.fixing.remedies import REMEDIES, Attempt, Course, Remedy, sites
from firstlight.fixing.result import FixResult
from firstlight.probe import Budget, Loss, Protocol
from firstlight.probe.given import first_batch
from firstlight.probe.guard import fresh, untouched
from firstlight.probe.trace.calling import call, unwrap
from firstlight.recipes import Recipe

_log = logging.getLogger(__name__)
_SPOKEN = {"sgd": "SGD", "adam": "Adam"}


@clean
def fix(
    model: nn.Module,
    batch: object,
    targets: object = None,
    *,
    loss: Loss | str | None = None,
    training: bool | None = True,
    seed: int = 0,
    structural: bool = False,
    warnings: bool = False,
    rounds: int = 4,
    remedies: str | Sequence[str] | None = None,
    train_steps: int = 0,
    train: Iterable[object] | None = None,
    budget: Budget | None = None,
    name: str | None = None,
) -> FixResult:
    """Change how a model starts, and show by the same audit, and by training if asked, that the change helps.

    The model is audited. Each remedy that its verdicts call for is applied to a copy, the gentlest first, and the copy
    is audited on the same batch with the same seed. A copy may be kept only if verdicts go away, no verdict is added,
    and no measure of a verdict that remains gets worse. Where there are targets or a loss, the first loss may not grow
    by more than a factor 2, and a few careful steps of plain gradient descent on the batch may not diverge if they did
    not before. Of these copies the one with the fewest verdicts is kept, the gentlest of equals; a remedy that writes
    nothing but what is out of line, such as one bad head, is enough where it leaves nothing unhealthy. The next round
    starts from there. The weights of a network that looks trained are left as they are, and so are zeros that are
    meant. The model that is given is never changed.

    Parameters
    ----------
    model, batch, targets, loss, training, seed, budget, name
        As for `firstlight.audit`; the seed also draws new weights.
    structural
        Whether remedies may replace modules (gains on activations, smooth activations for kinked ones).
        Otherwise parameters alone are written, and the fix is a state dict.
    warnings
        Whether to go on for warnings; by default a model without unhealthy verdicts is left as it is.
    rounds
        How many remedies may be kept, one upon another.
    remedies
        Names of remedies and of recipes to try, and no others, whatever the verdicts call for: a text with commas
        between, or a sequence. By default the remedies that the verdicts call for.
    train_steps
        With a number, the model as it came and every copy that may be kept are trained alike for so many steps, by SGD
        at rates .01 and .1 and by Adam at .001 and .01, and the lowest loss decides: none is kept that learns worse.
    train
        Pairs of inputs and targets to train on, such as a DataLoader; the batch by default.

    Returns
    -------
    FixResult
        ``.model``, ``.before``, ``.after``, ``.healthy``, ``.attempts``, ``.apply_(model)``, ``.to_html()``.

    Raises
    ------
    AuditError
        If the model or the batch cannot be audited, or the model cannot be copied.
    DomainError
        If a remedy has a name that is not known, ``rounds`` is not positive, ``train_steps`` is negative, or training
        is asked for and there is no loss.

    Examples
    --------
    >>> import torch, firstlight
    >>> from firstlight.builders import mlp
    >>> g = torch.Generator().manual_seed(0)
    >>> net = mlp(32, 10, depth=40, width=64, activation="tanh", sigma_w=2.5, generator=g)
    >>> result = firstlight.fix(net, torch.randn(64, 32, generator=g))
    >>> result.before.healthy, result.healthy, [a.remedy for a in result.kept]
    (False, True, ['edge-of-chaos'])
    """
    _check(rounds, train_steps)
    named = None if remedies is None else chosen_remedies(remedies)
    batch, protocol = first_batch(batch, Protocol(targets, loss, training, seed, budget))
    _log.info("fix: auditing the model as it came; each remedy that is tried costs one more audit")
    before = examine(model, batch, protocol, name=name)
    start = unwrap(model)
    # a model without data cannot run, and no remedy can be checked on it
    runnable = not any(v.code == "never-initialised" for v in before.verdicts)
    if not runnable or good(before, warnings=warnings):
        return FixResult(
            start if not runnable else _copy(start), before, before, (), _left(start, before, runnable)
        )
    search = _Search(batch, protocol, name, start, before, train_steps, train, named)
    best = _Trial(Attempt(0, "", "", ""), before, start, structural=False, courses=search.courses)
    attempts: list[Attempt] = []
    replaced = False
    for number in range(1, rounds + 1):
        if good(best.result, warnings=warnings):
            break
        chosen, tried = search.round(number, best, structural=structural)
        attempts += tried
        if chosen is None:
            break
        best, replaced = chosen, replaced or chosen.structural
    fixed = best.model if any(a.kept for a in attempts) else _copy(start)
    return FixResult(
        fixed,
        before,
        best.result,
        tuple(attempts),
        _left(fixed, best.result, runnable),
        replaced,
        () if structural else _structural_help(best.result),
        search.courses,
    )


def _check(rounds: int, train_steps: int) -> None:
    if rounds < 1:
        raise DomainError(f"while fixing a model: expected rounds ≥ 1, got {rounds}")
    if train_steps < 0:
        raise DomainError(f"while fixing a model: expected train_steps ≥ 0, got {train_steps}")


def _left(model: nn.Module, result: AuditResult, runnable: bool) -> tuple[str, ...]:
    return sites(model, result.profile).left if runnable else ()


def _structural_help(result: AuditResult) -> tuple[str, ...]:
    """Remedies that may replace modules, for the unhealthy verdicts that remain."""
    grave = set(codes(result, "unhealthy"))
    return tuple(remedy.name for remedy in REMEDIES if remedy.structural and remedy.codes & grave)


def _forward(net: nn.Module, batch: object) -> None:
    what, todo = (
        f"running the forward of {type(net).__name__}",
        "call the model on the batch alone to see where",
    )
    with outside(), torch.no_grad(), user_code(what, todo):
        call(net, fresh(batch))


@dataclass(frozen=True)
class _Trial:
    """A remedy on a copy, what the audit said, and how the copy trained."""

    attempt: Attempt
    result: AuditResult
    model: nn.Module
    structural: bool
    courses: tuple[Course, ...] = ()


class _Search:
    """The rounds of one fix: what is the same for all of them, and the model as it came to compare with."""

    def __init__(
        self,
        batch: object,
        protocol: Protocol,
        name: str | None,
        start: nn.Module,
        before: AuditResult,
        train_steps: int,
        train: Iterable[object] | None,
        named: Sequence[Remedy | Recipe] | None = None,
    ) -> None:
        self.named = None if named is None else [as_remedy(one, batch, protocol) for one in named]
        self.batch, self.protocol, self.name, self.before = batch, protocol, name, before
        self.steps = train_steps
        copied = _copy(start)
        can_train = trainable(copied, batch, protocol)
        if train_steps and not can_train:
            raise DomainError(
                "while fixing a model with train_steps: expected targets or a loss to train on, got neither; pass "
                "targets=… or loss=…"
            )
        self.batches = batches_of(batch, protocol, train, train_steps) if train_steps else []
        self.courses = courses(copied, self.batches, protocol, train_steps, PLANS) if train_steps else ()
        self.guard = guard(copied, batch, protocol) if can_train else ()

    def round(self, number: int, best: _Trial, *, structural: bool) -> tuple[_Trial | None, list[Attempt]]:
        """The copy that is kept, and every remedy tried, with its end."""
        chosen: _Trial | None = None
        tried: list[Attempt] = []
        called = _called_for(best.result, structural=structural) if self.named is None else self.named
        for remedy in called:
            _log.info("fix: round %d tries %s", number, remedy.name)
            trial = self.trial(remedy, number, best)
            if isinstance(trial, Attempt):
                tried.append(trial)
                continue
            trial = self.trained(trial)
            note = self.refused(best, trial)
            if not note and chosen is not None and not self.beats(trial, chosen):
                note = f"{chosen.attempt.remedy} did at least as well"
            if note:
                tried.append(replace(trial.attempt, note=note))
                continue
            if chosen is not None:
                at = tried.index(chosen.attempt)
                tried[at] = replace(chosen.attempt, kept=False, note=f"{remedy.name} did better")
            chosen = replace(trial, attempt=replace(trial.attempt, kept=True))
            tried.append(chosen.attempt)
            if not self.steps and enough(trial.result, local=remedy.local):
                break  # what comes later is less gentle
        return chosen, tried

    def trial(self, remedy: Remedy, number: int, best: _Trial) -> _Trial | Attempt:
        """The trial, or the attempt alone where the remedy had nothing to change or its copy cannot be audited."""
        candidate = _copy(best.model)
        attempt = Attempt(number, remedy.name, remedy.summary, remedy.source, suits=remedy.suits)
        generator = torch.Generator().manual_seed(self.protocol.seed)
        try:
            changes = remedy.apply(candidate, best.result.profile, generator, self.forward)
            if not changes:
                return replace(attempt, note="nothing to change here")
            result = examine(candidate, self.batch, self.protocol, name=self.name)
        except AuditError as error:
            return replace(attempt, note=f"the audit failed after it: {error}")
        attempt = replace(
            attempt,
            changes=tuple(changes),
            unhealthy=codes(result, "unhealthy", "not judged"),
            warnings=codes(result, "warning"),
        )
        return _Trial(attempt, result, candidate, remedy.structural)

    def forward(self, net: nn.Module) -> None:
        """Run a copy on the batch, for a remedy that reads what it writes."""
        protocol = self.protocol
        # a remedy's hooks write parameters of the copy in this pass, and what they write stays
        with untouched(net, training=protocol.training, seed=protocol.seed, parameters=False) as guard:
            guard.shield.run(partial(_forward, net, self.batch))

    def trained(self, trial: _Trial) -> _Trial:
        """The trial with its training, where training was asked for and the audit finds the copy better."""
        if not self.steps:
            return trial
        _log.info("fix: training the copy of %s for %d steps, four times", trial.attempt.remedy, self.steps)
        found = courses(trial.model, self.batches, self.protocol, self.steps, PLANS)
        suits = " and ".join(_SPOKEN[name] for name in suited(found, self.courses)) or "neither SGD nor Adam"
        return replace(trial, attempt=replace(trial.attempt, courses=found, suits=suits), courses=found)

    def refused(self, best: _Trial, trial: _Trial) -> str:
        """Why a copy may not be kept; nothing where it may."""
        if said := unimproved(best.result, trial.result):
            return said
        if self.steps:
            return "" if learns_better(trial.courses, best.courses) else "it learns worse"
        return harm(self.guard, guard(trial.model, self.batch, self.protocol)) if self.guard else ""

    def beats(self, new: _Trial, old: _Trial) -> bool:
        """Whether a less gentle copy takes the place of a gentler one: it learns better, or leaves fewer verdicts."""
        if self.steps:
            return learns_better(new.courses, old.courses)
        return score(new.result) < score(old.result)


def _called_for(result: AuditResult, *, structural: bool) -> Iterator[Remedy]:
    """Remedies that a verdict calls for; on inputs that want scaling, only those that write what is out of line.

    What large inputs do below is no fault of the weights, and weights that make up for it want other learning rates.
    """
    found = set(codes(result, "unhealthy", "warning"))
    inputs = "input-scale" in found
    for remedy in REMEDIES:
        if remedy.codes & found and (structural or not remedy.structural) and (remedy.local or not inputs):
            yield remedy


def _copy(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except Exception as error:
        # whatever a user's module raises, what matters is that it cannot be copied
        raise AuditError(
            f"while fixing {type(model).__name__}: expected a model that copy.deepcopy can copy, got "
            f"{in_one_line(error)}; detach what it caches, or fix it before its first use"
        ) from error
