"""fix: try the remedies that a model's verdicts call for, audit each, and keep what the same audit finds better."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from firstlight.auditing.audit import AuditResult, examine
from firstlight.errors import AuditError, DomainError
from firstlight.files import plain, write_whole, written
from firstlight.fixing.remedies import REMEDIES, Attempt, Remedy, sites
from firstlight.probe import Budget, Loss, Protocol
from firstlight.probe.trace.calling import call, unwrap
from firstlight.probe.trace.guard import untouched

# A share of the effective rank that counts as a difference: with less, deep networks trained visibly worse.
_CLEARLY = 0.75


@dataclass(frozen=True)
class FixResult:
    """A model before and after its remedies.

    Attributes
    ----------
    model
        A repaired copy; the model that was given is as it was.
    before, after
        The same audit of both.
    attempts
        Every remedy tried, kept or not, with what the audit then said.
    left
        Weights that no remedy may write, with the reason.
    structural
        Whether a remedy that was kept replaced modules.
    """

    model: nn.Module
    before: AuditResult
    after: AuditResult
    attempts: tuple[Attempt, ...]
    left: tuple[str, ...]
    structural: bool = False

    def __repr__(self) -> str:
        from firstlight.render.brief import one_line

        kept = " and ".join(a.remedy for a in self.kept) or "none"
        return one_line("FixResult", remedies=kept, healthy=self.healthy, tried=len(self.attempts))

    @property
    def healthy(self) -> bool:
        """Whether the audit finds the repaired model healthy."""
        return self.after.healthy

    @property
    def changed(self) -> bool:
        """Whether any remedy was kept."""
        return any(a.kept for a in self.attempts)

    @property
    def kept(self) -> tuple[Attempt, ...]:
        """The remedies that were kept, in order."""
        return tuple(a for a in self.attempts if a.kept)

    def apply_(self, model: nn.Module) -> nn.Module:
        """Copy the repaired parameters into a model of the same shape, all of them or none.

        Raises
        ------
        DomainError
            If modules were replaced (use ``.model`` then), or a parameter is missing or of another shape.
        """
        if self.structural:
            raise DomainError(
                "while applying a fix: expected remedies that write parameters alone, got one that replaced "
                "modules; use the repaired copy in .model"
            )
        source = dict(self.model.named_parameters())
        target = dict(unwrap(model).named_parameters())
        wrong = [n for n in source if n not in target or target[n].shape != source[n].shape]
        wrong += [n for n in target if n not in source]
        if wrong:
            raise DomainError(
                f"while applying a fix: expected the parameters of the audited model, got others at "
                f"{', '.join(wrong[:4])}; nothing was written"
            )
        with torch.no_grad():
            for name, value in source.items():
                target[name].copy_(value)
        return model

    def to_dict(self) -> dict[str, Any]:
        """Everything but the model, in a structure that JSON holds."""
        return {
            "format": "firstlight-fix/1",
            "healthy": self.healthy,
            "structural": self.structural,
            "attempts": [plain(a.to_dict()) for a in self.attempts],
            "left": plain(self.left),
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
        }

    def to_json(self, path: str | Path | None = None) -> str:
        """The result as JSON; with a path it is also written there, whole or not at all."""
        text = written(self.to_dict())
        if path is not None:
            write_whole(path, text + "\n")
        return text

    def to_html(self, path: str | Path | None = None) -> str:
        """One page: what was done, both audits side by side, and what is left; with a path also written there."""
        from firstlight.fixing.page import repair_html

        before, after = self.before, self.after
        text = repair_html(
            (before.measurement, before.verdicts),
            (after.measurement, after.verdicts),
            self.attempts,
            self.left,
        )
        if path is not None:
            write_whole(path, text)
        return text

    def to_text(self) -> str:
        """The result as plain text."""
        from firstlight.fixing.page import repair_text

        return repair_text(self.before.verdicts, self.after.verdicts, self.attempts, self.left)

    def __str__(self) -> str:
        return self.to_text()

    def _repr_html_(self) -> str:
        from firstlight.fixing.page import repair_fragment

        before, after = self.before, self.after
        return repair_fragment(
            (before.measurement, before.verdicts), (after.measurement, after.verdicts), self.attempts
        )


def fix(
    model: nn.Module,
    batch: Any,
    *,
    targets: Any = None,
    loss: Loss | None = None,
    training: bool | None = True,
    seed: int = 0,
    structural: bool = False,
    warnings: bool = False,
    rounds: int = 4,
    budget: Budget | None = None,
    name: str | None = None,
) -> FixResult:
    """Mend a model's initialisation, and show by the same audit that it is mended.

    The model is audited. Each remedy that its verdicts call for is applied to a copy, and the copy is audited
    on the same batch with the same seed. The best copy is kept if it has fewer unhealthy verdicts, then fewer
    warnings; of healthy ones it is the gentlest that keeps the samples' effective rank. The next round starts
    from it. The model that is given is never changed. What remedies do to a trained model's function is not
    looked at: this is for the start.

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

    Returns
    -------
    FixResult
        ``.model``, ``.before``, ``.after``, ``.healthy``, ``.attempts``, ``.apply_(model)``, ``.to_html()``.

    Raises
    ------
    AuditError
        If the model or the batch cannot be audited, or the model cannot be copied.
    DomainError
        If ``rounds`` is not positive.

    Examples
    --------
    >>> import torch, firstlight
    >>> from firstlight.builders import mlp
    >>> g = torch.Generator().manual_seed(0)
    >>> net = mlp(32, 10, depth=40, width=64, activation="tanh", sigma_w=2.5, generator=g)
    >>> result = firstlight.fix(net, torch.randn(64, 32, generator=g))
    >>> result.before.healthy, result.healthy, [a.remedy for a in result.kept]
    (False, True, ['orthogonal'])
    """
    if rounds < 1:
        raise DomainError(f"while fixing a model: expected rounds ≥ 1, got {rounds}")

    protocol = Protocol(targets, loss, training, seed, budget)

    def look(net: nn.Module) -> AuditResult:
        return examine(net, batch, protocol, name=name)

    def forward(net: nn.Module) -> None:
        with untouched(net, training=training, seed=seed), torch.no_grad():
            call(net, batch)

    before = look(model)
    best, state, replaced = before, unwrap(model), False
    attempts: list[Attempt] = []
    # a model without data cannot run, and no remedy can be checked on it
    runnable = not any(v.code == "never-initialised" for v in before.verdicts)
    for number in range(1, rounds + 1):
        if not runnable or _good(best, warnings=warnings):
            break
        chosen: _Trial | None = None
        round_: list[tuple[Attempt, AuditResult | None]] = []
        for remedy in _called_for(best, structural=structural):
            trial = _try(remedy, number, best, state, seed=seed, look=look, forward=forward)
            if isinstance(trial, Attempt):
                round_.append((trial, None))
                continue
            round_.append((trial.attempt, trial.result))
            # of the copies the best one alone is held on to
            if _improves(best, trial.result) and (chosen is None or _beats(trial.result, chosen.result)):
                chosen = trial
                if _unbeatable(trial.result):
                    break
        attempts += [_judged(attempt, result, best, chosen) for attempt, result in round_]
        if chosen is None:
            break
        best, state, replaced = chosen.result, chosen.model, replaced or chosen.structural
    fixed = state if any(a.kept for a in attempts) or not runnable else _copy(state)
    left = sites(fixed, best.profile).left if runnable else ()
    return FixResult(fixed, before, best, tuple(attempts), left, replaced)


@dataclass(frozen=True)
class _Trial:
    """A remedy on a copy, and what the audit said."""

    attempt: Attempt
    result: AuditResult
    model: nn.Module
    structural: bool


def _try(
    remedy: Remedy,
    number: int,
    best: AuditResult,
    state: nn.Module,
    *,
    seed: int,
    look: Callable[[nn.Module], AuditResult],
    forward: Callable[[nn.Module], object],
) -> _Trial | Attempt:
    """The trial, or the attempt alone where the remedy had nothing to change or its copy cannot be audited."""
    candidate = _copy(state)
    attempt = Attempt(number, remedy.name, remedy.summary, remedy.source)
    try:
        changes = remedy.apply(candidate, best.profile, torch.Generator().manual_seed(seed), forward)
        if not changes:
            return replace(attempt, note="nothing to change here")
        result = look(candidate)
    except AuditError as error:
        return replace(attempt, note=f"the audit failed after it: {error}")
    attempt = replace(
        attempt,
        changes=tuple(changes),
        unhealthy=_codes(result, "unhealthy"),
        warnings=_codes(result, "warning"),
    )
    return _Trial(attempt, result, candidate, remedy.structural)


def _judged(
    attempt: Attempt, result: AuditResult | None, best: AuditResult, chosen: _Trial | None
) -> Attempt:
    """The attempt with its end: kept, or why not."""
    if result is None:
        return attempt
    if chosen is not None and result is chosen.result:
        return replace(attempt, kept=True)
    if chosen is None or not _improves(best, result):
        return replace(attempt, note="the audit finds it no better")
    return replace(attempt, note=f"{chosen.attempt.remedy} did at least as well")


def _called_for(result: AuditResult, *, structural: bool) -> Iterator[Remedy]:
    codes = {v.code for v in result.verdicts if v.severity in ("unhealthy", "warning")}
    for remedy in REMEDIES:
        if remedy.codes & codes and (structural or not remedy.structural):
            yield remedy


def _copy(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except Exception as error:
        # whatever a user's module raises, what matters is that it cannot be copied
        raise AuditError(
            f"while fixing {type(model).__name__}: expected a model that copy.deepcopy can copy, got "
            f"{type(error).__name__}: {error}; detach what it caches, or fix it before its first use"
        ) from error


def _codes(result: AuditResult, severity: str) -> tuple[str, ...]:
    return tuple(v.code for v in result.verdicts if v.severity == severity)


def _good(result: AuditResult, *, warnings: bool) -> bool:
    unhealthy, warned, _ = _score(result)
    return unhealthy == 0 and (warned == 0 or not warnings)


def _score(result: AuditResult) -> tuple[int, int, float]:
    """Unhealthy verdicts, warnings, and decades of gradient between the weight layers; smaller is better."""
    logs = result.profile.select("weight")["log_grad"]
    logs = logs[np.isfinite(logs)]
    spread = float(np.ptp(logs)) / math.log(10.0) if len(logs) else math.inf
    return len(_codes(result, "unhealthy")), len(_codes(result, "warning")), spread


def _beats(new: AuditResult, old: AuditResult) -> bool:
    """Fewer verdicts; else gradients closer together, or, of healthy ones, clearly more of the samples' rank.

    Remedies come in the order of the catalogue, the gentle ones first, and one as good as an earlier one does
    not take its place.
    """
    ours, theirs = _score(new), _score(old)
    if ours[:2] != theirs[:2]:
        return ours[:2] < theirs[:2]
    return ours[2] < theirs[2] if ours[0] else _CLEARLY * _kept_rank(new) > _kept_rank(old)


def _unbeatable(result: AuditResult) -> bool:
    rank = result.profile.select("input")["effective_rank"]
    reach = float(rank[0]) if len(rank) and math.isfinite(rank[0]) else 0.0
    return _score(result)[:2] == (0, 0) and _kept_rank(result) >= _CLEARLY * reach


def _kept_rank(result: AuditResult) -> float:
    """Effective rank of the samples at the last hidden weight layer; a readout of ten units has little anyway."""
    rank = result.profile.select("weight")["effective_rank"]
    known = rank[:-1][np.isfinite(rank[:-1])]
    return float(known[-1]) if len(known) else 0.0


def _improves(old: AuditResult, new: AuditResult) -> bool:
    was, now = _score(old), _score(new)
    return now[:2] < was[:2] or (now[:2] == was[:2] and now[0] > 0 and now[2] < 0.9 * was[2])
