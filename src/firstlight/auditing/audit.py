"""audit: measure a model and diagnose it."""

from __future__ import annotations

from torch import nn

from firstlight.auditing.record import audit_parts
from firstlight.auditing.result import AuditResult
from firstlight.diagnosis import diagnose
from firstlight.probe import Budget, Loss, Protocol, measure


def audit(
    model: nn.Module,
    batch: object,
    targets: object = None,
    *,
    loss: Loss | str | None = None,
    training: bool | None = True,
    seed: int = 0,
    budget: Budget | None = None,
    name: str | None = None,
    optimiser: str | None = None,
    measures: tuple[str, ...] | str = (),
) -> AuditResult:
    """Audit any model: what signals and gradients do in it, what theory expects, and what is wrong.

    One forward and one backward pass are traced; parameters, buffers, gradients, modes and random
    generators are left exactly as they were.

    Parameters
    ----------
    model
        Any ``torch.nn.Module``.
    batch
        A tensor, or the tuple or dict of tensors that the model takes. A DataLoader, a data set or an iterator gives
        its first batch with its targets, and the result's notes say so.
    targets, loss
        What is differentiated: ``loss(output, targets)``; targets alone mean cross-entropy (integers) or
        squared error (reals); with neither, the output times a fixed Gaussian tensor. A loss may be named:
        ``"cross-entropy"``, ``"mse"``, ``"auto"`` (as targets alone), ``"none"`` (a fixed Gaussian tensor).
    training
        The mode to audit in: True (default) as an optimiser sees it, False for evaluation, None as it is.
    seed
        Seeds dropout and the random direction.
    budget
        How much of each tensor is read.
    name
        What reports call the model; its class if not given.
    optimiser
        The optimiser that the verdicts are for: ``"sgd"`` (plain gradient descent), ``"adam"`` (any adaptive
        optimiser), or None for both. With None the graver verdict counts, and the evidence names the optimiser.
    measures
        Measures of the representations to add as columns, by their names in ``measure.REPRESENTATION_MEASURES``:
        ``("vne", "epsilon-rank", "zeros", …)``. They read the samples and units that the budget allows.

    Returns
    -------
    AuditResult
        ``.profile``, ``.verdicts``, ``.healthy``, ``.assert_healthy()``, ``.to_html()``, ``.to_json()``.

    Raises
    ------
    AuditError
        If the model or the batch cannot be used; the message names the layer and the reason.

    Examples
    --------
    >>> import torch, firstlight
    >>> model = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))
    >>> result = firstlight.audit(model, torch.randn(32, 64))
    >>> result.healthy
    True
    >>> [str(kind) for kind in result.profile["kind"]]
    ['input', 'weight', 'activation', 'weight']
    """
    protocol = Protocol(targets, loss, training, seed, budget, optimiser, measures=measures)
    return examine(model, batch, protocol, name=name)


def examine(model: nn.Module, batch: object, protocol: Protocol, *, name: str | None = None) -> AuditResult:
    """The result of `audit`, with the protocol as one object; for verbs that audit more than once.

    Raises
    ------
    AuditError
        As `audit` does.
    """
    measurement = measure(model, batch, protocol, name=name)
    return AuditResult(measurement, diagnose(measurement, optimiser=protocol.optimiser))


def audit_from_dict(data: object) -> AuditResult:
    """The audit that ``audit_dict`` or ``AuditResult.to_json`` wrote down; each of its forms can be made again.

    Raises
    ------
    LoadError
        If the data was not written by ``audit_dict``; it is a ``ValueError`` too.

    Examples
    --------
    >>> import json, torch, firstlight
    >>> from firstlight.auditing import audit_from_dict
    >>> result = firstlight.audit(torch.nn.Linear(8, 4), torch.randn(16, 8))
    >>> audit_from_dict(json.loads(result.to_json())).verdicts == result.verdicts
    True
    """
    return AuditResult(*audit_parts(data))
