"""The search of a fix: every remedy on a copy, what the audit says of it, how it learns, and which copy is kept."""

from __future__ import annotations

import copy
import logging
import numbers
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import nn

from firstlight.auditing.audit import examine
from firstlight.auditing.result import AuditResult
from firstlight.clean_room import outside
from firstlight.errors import AuditError, DomainError, in_one_line, user_code
from firstlight.fixing._comparison import codes, enough, score, unimproved
from firstlight.fixing._named import as_remedy
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
from firstlight.fixing.remedies import REMEDIES, Attempt, Course, Remedy
from firstlight.fixing.remedies.catalogue import OUTSIDE, RAW
from firstlight.probe import Protocol
from firstlight.probe.guard import fresh, untouched
from firstlight.probe.trace.calling import call
from firstlight.recipes import Recipe

_log = logging.getLogger(__name__)
_SPOKEN = {"sgd": "SGD", "adam": "Adam"}


@dataclass(frozen=True)
class Terms:
    """What a fix may do, and for how long; each field is the keyword of `firstlight.fix` with its name.

    Raises
    ------
    DomainError
        If ``rounds`` is not positive, or ``train_steps`` is negative.
    """

    structural: bool
    warnings: bool
    rounds: int
    train_steps: int
    train: Iterable[object] | None
    named: Sequence[Remedy | Recipe] | None

    def __post_init__(self) -> None:
        given: tuple[tuple[str, object], ...] = (("rounds", self.rounds), ("train_steps", self.train_steps))
        for name, value in given:
            if not isinstance(value, numbers.Integral):
                raise DomainError(
                    f"while fixing a model: expected {name} to be a whole number, got {value!r:.80}"
                )
        if self.rounds < 1:
            raise DomainError(f"while fixing a model: expected rounds ≥ 1, got {self.rounds}")
        if self.train_steps < 0:
            raise DomainError(f"while fixing a model: expected train_steps ≥ 0, got {self.train_steps}")


@dataclass(frozen=True)
class Trial:
    """A remedy on a copy, what the audit said, and how the copy trained."""

    attempt: Attempt
    result: AuditResult
    model: nn.Module
    structural: bool
    courses: tuple[Course, ...] = ()
    few: tuple[Course, ...] = ()


class Search:
    """The rounds of one fix: what is the same for all of them, and the model as it came to compare with."""

    def __init__(
        self,
        batch: object,
        protocol: Protocol,
        name: str | None,
        start: nn.Module,
        before: AuditResult,
        terms: Terms,
    ) -> None:
        self.batch, self.protocol, self.name = batch, protocol, name
        self.start, self.before, self.terms = start, before, terms
        self.named = None if terms.named is None else [as_remedy(one, batch, protocol) for one in terms.named]
        steps = self.steps = terms.train_steps
        first = copied(start)
        can_train = trainable(first, batch, protocol)
        if steps and not can_train:
            raise DomainError(
                "while fixing a model with train_steps: expected targets or a loss to train on, got neither; pass "
                "targets=… or loss=…"
            )
        self.batches = batches_of(batch, protocol, terms.train, steps) if steps else []
        self.courses = courses(first, self.batches, protocol, steps, PLANS) if steps else ()
        # the model as it came, a few steps on
        self.few = trial(first, batch, protocol) if can_train else ()

    def round(self, number: int, best: Trial) -> tuple[Trial | None, list[Attempt]]:
        """The copy that is kept, and every remedy tried, with its end."""
        chosen: Trial | None = None
        tried: list[Attempt] = []
        called = (
            _called_for(best.result, structural=self.terms.structural) if self.named is None else self.named
        )
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

    def trial(self, remedy: Remedy, number: int, best: Trial) -> Trial | Attempt:
        """The trial, or the attempt alone where the remedy had nothing to change or its copy cannot be audited."""
        candidate = copied(best.model)
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
        return Trial(attempt, result, candidate, remedy.structural)

    def forward(self, net: nn.Module) -> None:
        """Run a copy on the batch, for a remedy that reads what it writes."""
        protocol = self.protocol
        # a remedy's hooks write parameters of the copy in this pass, and what they write stays
        with untouched(net, training=protocol.training, seed=protocol.seed, parameters=False) as guard:
            guard.shield.run(partial(_forward, net, self.batch))

    def trained(self, new: Trial) -> Trial:
        """The copy with its training: the one asked for, or a few steps where there is something to train on."""
        if not self.steps:
            return replace(new, few=trial(new.model, self.batch, self.protocol)) if self.few else new
        _log.info("fix: training the copy of %s for %d steps, four times", new.attempt.remedy, self.steps)
        found = courses(new.model, self.batches, self.protocol, self.steps, PLANS)
        suits = " and ".join(_SPOKEN[name] for name in suited(found, self.courses)) or "neither SGD nor Adam"
        return replace(new, attempt=replace(new.attempt, courses=found, suits=suits), courses=found)

    def refused(self, best: Trial, new: Trial) -> str:
        """Why a copy may not be kept; nothing where it may."""
        if said := unimproved(best.result, new.result):
            return said
        if self.steps:
            return "" if learns_better(new.courses, best.courses) else "it learns worse"
        if said := harm(self.few, new.few):
            return said
        if not self.terms.warnings and _in_vain(best.result, new.result):
            return "what is unhealthy stays, and is no fault of the weights"
        warned = score(best.result)[0] == 0 and not self.terms.warnings and not best.structural
        return (
            "it does not learn clearly better"
            if warned and not learns_clearly_better(new.few, best.few)
            else ""
        )

    def enough(self, new: Trial, *, local: bool) -> bool:
        """Whether a copy will do: nothing unhealthy is left, and it learns where there is something to train on.

        If a remedy wrote only a fault and the audit has no warning, the copy only has to learn no worse than the model
        as it came.
        """
        if not enough(new.result, local=local):
            return False
        warned = score(new.result)[1] > 0
        return (
            not self.few
            or learns(new.few, self.few)
            or (local and not warned and learns_no_worse(new.few, self.few))
        )

    def beats(self, new: Trial, old: Trial) -> bool:
        """Whether a less gentle copy takes the place of a gentler one: it leaves fewer verdicts, or learns better.

        Of copies with equally many verdicts, one that learns no worse than the model as it came is better than another.
        """
        if self.steps:
            return learns_better(new.courses, old.courses)
        ours, theirs = (
            (len(diverging(one.few)), *score(one.result), not learns_no_worse(one.few, self.few))
            for one in (new, old)
        )
        return ours < theirs or (ours == theirs and learns_clearly_better(new.few, old.few))


def _in_vain(old: AuditResult, new: AuditResult) -> bool:
    """Whether every unhealthy verdict stays, and each of them is about targets, inputs or code, not about weights."""
    grave = set(codes(new, "unhealthy", "not judged"))
    return (
        bool(grave)
        and grave <= OUTSIDE | {"first-loss"}
        and grave == set(codes(old, "unhealthy", "not judged"))
    )


def _called_for(result: AuditResult, *, structural: bool) -> Iterator[Remedy]:
    """Remedies that a verdict calls for; if the inputs need scaling, only those that scale them or write what is out of
    line. What large inputs do to later layers is no fault of the weights, and weights that compensate for large inputs
    need other learning rates.
    """
    found = set(codes(result, "unhealthy", "warning"))
    inputs = bool(RAW & found)
    for remedy in REMEDIES:
        fits = not inputs or remedy.local or remedy.codes & RAW
        if remedy.codes & found and fits and (structural or not remedy.structural):
            yield remedy


def _forward(net: nn.Module, batch: object) -> None:
    what, todo = (
        f"running the forward of {type(net).__name__}",
        "call the model on the batch alone to see where",
    )
    with outside(), torch.no_grad(), user_code(what, todo):
        call(net, fresh(batch))


def copied(model: nn.Module) -> nn.Module:
    """A deep copy of a user's module, or one clear error."""
    try:
        return copy.deepcopy(model)
    except Exception as error:
        # whatever a user's module raises, what matters is that it cannot be copied
        raise AuditError(
            f"while fixing {type(model).__name__}: expected a model that copy.deepcopy can copy, got "
            f"{in_one_line(error)}; detach what it caches, or fix it before its first use"
        ) from error
