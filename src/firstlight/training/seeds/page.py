"""A training as text and as a page: curves of every seed, and how each seed ended."""

from __future__ import annotations

import math

from firstlight.render.axis import Axis
from firstlight.render.chart import Rule, Series, line_chart
from firstlight.render.markup import Markup
from firstlight.render.numbers import counted, measured, number
from firstlight.render.page import card, cards, grid, page, paragraph, section
from firstlight.render.table import Head, table
from firstlight.training.seeds.result import SeedRun, TrainingResult

_ENDS = {
    "early": "stopped early: the validation loss fell no more",
    "cap": "ran all epochs that were allowed",
}


def training_text(result: TrainingResult) -> str:
    """A line for each seed, and the means with their standard errors.

    Examples
    --------
    >>> from firstlight.training import TrainingPlan, train_seeds, training_text
    >>> plan = TrainingPlan(depth=1, width=5, data="digits", seeds=(0, 1), epochs=1)
    >>> print(training_text(train_seeds(plan)).splitlines()[0])
    mlp 1×5 tanh on digits, 2 seeds
    """
    lines = [f"{result.plan.label}, {counted(len(result.runs), 'seed')}"]
    for run in result.runs:
        told = f"  seed {run.seed}: {counted(len(run.epochs), 'epoch')}"
        if math.isfinite(run.test_loss):
            told += (
                f", training loss {number(run.loss, digits=4)}, test loss {number(run.test_loss, digits=4)}, test "
                f"accuracy {number(run.test_accuracy)} (weights of epoch {run.best_epoch})"
            )
        lines.append(f"{told}; {_end(run)}")
    if len(result.diverged) == len(result.runs):
        return "\n".join([*lines, "  every seed diverged: the loss or a weight was not finite any more"])
    loss, accuracy = (measured(*result.mean(name)) for name in ("loss", "test_accuracy"))
    lines.append(f"  mean over seeds that did not diverge: training loss {loss}, test accuracy {accuracy}")
    return "\n".join(lines)


def training_page(result: TrainingResult) -> str:
    """The training as one self-contained page.

    Examples
    --------
    >>> from firstlight.training import TrainingPlan, train_seeds, training_page
    >>> plan = TrainingPlan(depth=1, width=5, data="digits", seeds=(0, 1), epochs=1)
    >>> "Training loss" in training_page(train_seeds(plan))
    True
    """
    plan = result.plan
    charts = [
        _chart(result, "loss", "Training loss", "mean cross-entropy of an epoch"),
        _chart(result, "validation_loss", "Validation loss", "cross-entropy"),
        _chart(result, "accuracy", "Training accuracy", "share of an epoch's samples"),
        _chart(result, "validation_accuracy", "Validation accuracy", "share"),
        _chart(result, "learning_rate", "Learning rate", "Adam's rate"),
    ]
    heads: list[Head | str] = [
        "seed", "epochs", Head("training loss", "mean of the last epoch"), Head("best epoch", "lowest validation loss"),
        Head("test loss", "with the weights of the best epoch"), "test accuracy",
        Head("last test accuracy", "with the weights of the last epoch"), Head("end", text=True),
    ]  # fmt: skip
    rows = [
        [r.seed, len(r.epochs), r.loss, r.best_epoch, r.test_loss, r.test_accuracy, r.last_test_accuracy, _end(r)]
        for r in result.runs
    ]  # fmt: skip
    facts = {
        "data": plan.data, "seeds": len(plan.seeds), "activation": plan.activation, "weights": plan.weights,
        "σ_w": number(plan.sigma_w), "σ_b": number(plan.sigma_b), "batch": plan.rules.batch,
        "share of images": number(plan.fraction), "at most epochs": plan.epochs,
    }  # fmt: skip
    return page(
        plan.label,
        cards(_summary(result)),
        section("Epoch by epoch", grid(*charts), intro="One line for each seed."),
        section("Seeds", table(heads, rows), intro="The test part was looked at once, after training."),
        facts=facts,
    )


def _chart(result: TrainingResult, name: str, title: str, axis: str) -> Markup:
    lines = [
        Series(
            f"seed {run.seed}", [e.epoch for e in run.epochs], [getattr(e, name) for e in run.epochs], "line"
        )
        for run in result.runs
    ]
    chance = [Rule(1 / 10, "chance of ten classes")] if name.endswith("accuracy") else []
    scale = {"scale": "log"} if name == "learning_rate" else {}
    return line_chart(lines, title=title, x=Axis("epoch"), y=Axis(axis, **scale), rules=chance)  # type: ignore[arg-type]


def _summary(result: TrainingResult) -> Markup:
    accuracy = measured(*result.mean("test_accuracy"))
    gone = len(result.diverged)
    said = (
        f"Test accuracy {accuracy} (mean and standard error over {counted(len(result.runs) - gone, 'seed')})."
    )
    if gone:
        said += f" {gone} of {counted(len(result.runs), 'seed')} diverged."
    return card(
        "Trained", paragraph(said), tone="unhealthy" if gone else "neutral", label="diverged" if gone else ""
    )


def _end(run: SeedRun) -> str:
    if run.end == "diverged":
        at = f" at step {run.diverged_step}" if run.diverged_step else ", its weights after the last step"
        return f"diverged in epoch {len(run.epochs)}{at}"
    return _ENDS[run.end]
