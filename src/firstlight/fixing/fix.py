"""fix: try the remedies that a model's verdicts call for, the gentlest first, and keep what does no harm."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from torch import nn

from firstlight.auditing.audit import examine
from firstlight.auditing.result import AuditResult
from firstlight.clean_room import clean
from firstlight.fixing._comparison import codes, good
from firstlight.fixing._named import chosen_remedies
from firstlight.fixing._search import Search, Terms, Trial, copied
from firstlight.fixing.remedies import REMEDIES, Attempt, sites
from firstlight.fixing.remedies.catalogue import RAW
from firstlight.fixing.result import FixResult
from firstlight.probe import Budget, Loss, Protocol
from firstlight.probe.given import first_batch
from firstlight.probe.trace.calling import unwrap

_log = logging.getLogger(__name__)


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
    and no measure of a verdict that remains gets worse. The copy with the fewest verdicts is kept, and of equal copies
    the gentlest. A remedy that writes only what is out of line, such as one bad head, ends the round if it leaves
    nothing unhealthy. The next round starts from the copy that was kept.

    Where there are targets or a loss, each copy and the model as it came are tried for six careful steps on the batch,
    by plain gradient descent and by Adam. The first loss may grow by a factor 2 at most, and a descent that did not
    diverge before may not diverge now. Where a copy hardly learns in these steps, less gentle remedies are tried too.
    Of equal copies the one that learns clearly better is kept, and a copy that does not diverge is preferred. If a copy
    learns clearly better and fewer of its verdicts are unhealthy, a warning may get worse as long as it stays a
    warning. A model that only has warnings is changed only if a copy learns clearly better.

    The weights of a network that looks trained are left as they are. Zeros that are meant are left as they are too. The
    model that is given is never changed.

    Parameters
    ----------
    model, batch, targets, loss, training, seed, budget, name
        As for `firstlight.audit`; the seed also draws new weights.
    structural
        Whether remedies may replace modules (gains on activations, smooth activations for kinked ones).
        Otherwise parameters alone are written, and the fix is a state dict.
    warnings
        Whether to go on until there are no warnings. By default a model without unhealthy verdicts is changed only if a
        copy learns clearly better.
    rounds
        How many remedies may be kept, one after another.
    remedies
        The names of the remedies and recipes to try: a text with commas between the names, or a sequence. No others are
        tried. By default the remedies that the verdicts call for are tried.
    train_steps
        If it is not 0, the model as it came and every copy that may be kept are trained alike for so many steps, by SGD
        at rates .01 and .1 and by Adam at .001 and .01. The lowest loss decides, and no copy that learns worse is kept.
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
        If the name of a remedy is not known, ``rounds`` is not positive, ``train_steps`` is negative, or training is
        asked for without a loss.

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
    terms = Terms(
        structural,
        warnings,
        rounds,
        train_steps,
        train,
        None if remedies is None else chosen_remedies(remedies),
    )
    batch, protocol = first_batch(batch, Protocol(targets, loss, training, seed, budget))
    _log.info("fix: auditing the model as it came; each remedy that is tried costs one more audit")
    before = examine(model, batch, protocol, name=name)
    start = unwrap(model)
    # a model without data cannot run, and no remedy can be checked on it
    runnable = not any(v.code == "never-initialised" for v in before.verdicts)
    if not runnable or good(before, warnings=True):
        return _unchanged(start, before, runnable)
    return _fixed(Search(batch, protocol, name, start, before, terms), terms)


def _fixed(search: Search, terms: Terms) -> FixResult:
    """The result of the rounds of a search; the model as it came where no copy is to be kept."""
    start, before = search.start, search.before
    sick = not good(before, warnings=terms.warnings)
    if not sick and not search.few:
        return _unchanged(start, before, runnable=True)
    best = Trial(
        Attempt(0, "", "", ""), before, start, structural=False, courses=search.courses, few=search.few
    )
    attempts: list[Attempt] = []
    replaced = False
    # one round is enough where the audit only warns: a copy is kept then for learning, not for its verdicts
    for number in range(1, terms.rounds + 1 if sick else 2):
        # weights that were right for the raw inputs need not be right for the standardised ones
        if sick and not best.structural and good(best.result, warnings=terms.warnings):
            break
        chosen, tried = search.round(number, best)
        attempts += tried
        if chosen is None:
            break
        best, replaced = chosen, replaced or chosen.structural
    fixed = best.model if any(a.kept for a in attempts) else copied(start)
    return FixResult(
        fixed,
        before,
        best.result,
        tuple(attempts),
        sites(fixed, best.result.profile).left,
        replaced,
        () if terms.structural else _structural_help(best.result),
        search.courses,
    )


def _unchanged(start: nn.Module, before: AuditResult, runnable: bool) -> FixResult:
    """The result for a model that is left as it came; one that cannot run has no sites, and cannot be copied."""
    if not runnable:
        return FixResult(start, before, before, (), ())
    return FixResult(copied(start), before, before, (), sites(start, before.profile).left)


def _structural_help(result: AuditResult) -> tuple[str, ...]:
    """Remedies that may replace modules, for the unhealthy verdicts that remain, and for inputs off scale."""
    called = set(codes(result, "unhealthy")) | (RAW & set(codes(result, "warning")))
    return tuple(remedy.name for remedy in REMEDIES if remedy.structural and remedy.codes & called)
