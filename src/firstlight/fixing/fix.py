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
    diverging,
    harm,
    learns,
    learns_better,
    learns_clearly_better,
    learns_no_worse,
    suited,
    trainable,
    trial,
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
    and no measure of a verdict that remains gets worse. Of these copies the one with the fewest verdicts is kept, the
    gentlest of equals; a remedy that writes nothing but what is out of line, such as one bad head, is enough where it
    leaves nothing unhealthy. The next round starts from there.

    Where there are targets or a loss, each copy and the model as it came are tried for six careful steps on the batch,
    by plain gradient descent and by Adam. The first loss may not grow by more than a factor 2, and no descent may
    diverge that did not before. A copy that hardly learns in these steps is not enough, so that less gentle remedies
    are tried too; of equals the one that learns clearly better is kept, and of all one that does not diverge. With a
    copy that learns clearly better, a warning may get worse while it stays a warning and fewer verdicts are unhealthy.
    A model that the audit only warns of is changed where a copy learns clearly better, and not otherwise.

    The weights of a network that looks trained are left as they are, and so are zeros that are meant. The model that is
    given is never changed.

    Parameters
    ----------
    model, batch, targets, loss, training, seed, budget, name
        As for `firstlight.audit`; the seed also draws new weights.
    structural
        Whether remedies may replace modules (gains on activations, smooth activations for kinked ones).
        Otherwise parameters alone are written, and the fix is a state dict.
    warnings
        Whether to go on for warnings; by default a model without unhealthy verdicts is left as it is unless a copy
        learns clearly better.
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
    unchanged = _unchanged(start, before, runnable)
    if not runnable or good(before, warnings=True):
        return unchanged
    search = _Search(batch, protocol, name, start, before, train_steps, train, named, warnings=warnings)
    sick = not good(before, warnings=warnings)
    if not sick and not search.few:
        return unchanged
    first = Attempt(0, "", "", "")
    best = _Trial(first, before, start, structural=False, courses=search.courses, few=search.few)
    attempts: list[Attempt] = []
    replaced = False
    # one round is enough where the audit only warns: a copy is kept then for learning, not for its verdicts
    for number in range(1, rounds + 1 if sick else 2):
        if sick and good(best.result, warnings=warnings):
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


def _unchanged(start: nn.Module, before: AuditResult, runnable: bool) -> FixResult:
    model = _copy(start) if runnable else start
    return FixResult(model, before, before, (), _left(start, before, runnable))


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
    few: tuple[Course, ...] = ()


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
        *,
        warnings: bool = False,
    ) -> None:
        self.named = None if named is None else [as_remedy(one, batch, protocol) for one in named]
        self.batch, self.protocol, self.name, self.before = batch, protocol, name, before
        self.steps, self.warnings = train_steps, warnings
        copied = _copy(start)
        can_train = trainable(copied, batch, protocol)
        if train_steps and not can_train:
            raise DomainError(
                "while fixing a model with train_steps: expected targets or a loss to train on, got neither; pass "
                "targets=… or loss=…"
            )
        self.batches = batches_of(batch, protocol, train, train_steps) if train_steps else []
        self.courses = courses(copied, self.batches, protocol, train_steps, PLANS) if train_steps else ()
        # the model as it came, a few steps on
        self.few = trial(copied, batch, protocol) if can_train else ()

    def round(self, number: int, best: _Trial, *, structural: bool) -> tuple[_Trial | None, list[Attempt]]:
        """The copy that is kept, and every remedy tried, with its end."""
        chosen: _Trial | None = None
        tried: list[Attempt] = []
        called = _called_for(best.result, structural=structural) if self.named is None else self.named
        for remedy in called:
            _log.info("fix: round %d tries %s", number, remedy.name)
            new = self.trial(remedy, number, best)
            if isinstance(new, Attempt):
                tried.append(new)
                continue
            new = self.trained(new)
            note = self.refused(best, new)
            if not note and chosen is not None and not self.beats(new, chosen):
                note = f"{chosen.attempt.remedy} did at least as well"
            if note:
                tried.append(replace(new.attempt, note=note))
                continue
            if chosen is not None:
                at = tried.index(chosen.attempt)
                tried[at] = replace(chosen.attempt, kept=False, note=f"{remedy.name} did better")
            chosen = replace(new, attempt=replace(new.attempt, kept=True))
            tried.append(chosen.attempt)
            if not self.steps and self.enough(new, local=remedy.local):
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

    def trained(self, new: _Trial) -> _Trial:
        """The copy with its training: the one asked for, or a few steps where there is something to train on."""
        if not self.steps:
            return replace(new, few=trial(new.model, self.batch, self.protocol)) if self.few else new
        _log.info("fix: training the copy of %s for %d steps, four times", new.attempt.remedy, self.steps)
        found = courses(new.model, self.batches, self.protocol, self.steps, PLANS)
        suits = " and ".join(_SPOKEN[name] for name in suited(found, self.courses)) or "neither SGD nor Adam"
        return replace(new, attempt=replace(new.attempt, courses=found, suits=suits), courses=found)

    def refused(self, best: _Trial, new: _Trial) -> str:
        """Why a copy may not be kept; nothing where it may."""
        if said := unimproved(best.result, new.result):
            return said
        if self.steps:
            return "" if learns_better(new.courses, best.courses) else "it learns worse"
        if said := harm(self.few, new.few):
            return said
        warned = score(best.result)[0] == 0 and not self.warnings
        return (
            "it does not learn clearly better"
            if warned and not learns_clearly_better(new.few, best.few)
            else ""
        )

    def enough(self, new: _Trial, *, local: bool) -> bool:
        """Whether a copy will do: nothing unhealthy is left, and it learns where there is something to train on.

        A copy in which nothing but a fault was written must only not learn worse than the model as it came, if the
        audit does not warn of it.
        """
        if not enough(new.result, local=local):
            return False
        warned = score(new.result)[1] > 0
        return (
            not self.few or learns(new.few) or (local and not warned and learns_no_worse(new.few, self.few))
        )

    def beats(self, new: _Trial, old: _Trial) -> bool:
        """Whether a less gentle copy takes the place of a gentler one: it leaves fewer verdicts, or learns better."""
        if self.steps:
            return learns_better(new.courses, old.courses)
        ours, theirs = ((len(diverging(one.few)), *score(one.result)) for one in (new, old))
        return ours < theirs or (ours == theirs and learns_clearly_better(new.few, old.few))


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
