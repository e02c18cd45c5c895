"""Figures 4 and 6: training of batch-normalised networks of up to 1000 layers, and which statistics to trust."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from firstlight import activations
from firstlight.errors import DomainError, LoadError
from firstlight.experiments.claim import Claim, decided
from firstlight.experiments.drawing import lines
from firstlight.experiments.findings import Findings
from firstlight.experiments.meterez2024.depth import KINDS
from firstlight.experiments.meterez2024.training import Setting, splits, train_setting
from firstlight.experiments.study import Settings, Size, Study
from firstlight.render.axis import Axis
from firstlight.render.chart import line_chart
from firstlight.render.markup import Markup
from firstlight.render.page import grid, section
from firstlight.theory.batchnorm import check_batch

Row = Mapping[str, Any]
_log = logging.getLogger(__name__)
# twice the accuracy of chance among ten classes: below, a network has learnt next to nothing
_LEARNT = 0.2
_ALL = (
    "linear-orthogonal",
    "sin-orthogonal",
    "tanh-orthogonal",
    "linear-normal",
    "sin-normal",
    "tanh-normal",
)
_GAMMA = 0.4
# recalibrated .935 and running .156, depth 1000 and width 100 on digits, measured for this project
_LOST = 0.779
# growth of log ‖∇W‖ that a batch of low rank predicts, beyond which its errors are not small any more: a factor of ten
_GROWN = math.log(10)
_LOSES = 0.1
_MEASURED = (
    "loss", "train_accuracy", "test_accuracy", "test_accuracy_batch", "test_accuracy_running", "weight_gap_middle",
    "weight_gap_max", "log_grad_first", "log_grad_last",
)  # fmt: skip


def accuracies(settings: Settings) -> Findings:
    """Accuracy by epoch, orthogonal and Gaussian weights, with and without activation."""
    rows = _trained(settings)
    return Findings(tuple(rows), tuple(_each(rows, _trains)), _NOTES)


def orthogonality(settings: Settings) -> Findings:
    """Isometry gap of the middle weights and gradients of the two ends, epoch by epoch."""
    rows = _trained(settings)
    return Findings(tuple(rows), tuple(_each(rows, _stays_orthogonal)), _NOTES)


def statistics(settings: Settings) -> Findings:
    """Test accuracy on recalibrated statistics, on those of the test batch, and on running averages."""
    rows = _trained(settings)
    return Findings(tuple(rows), tuple(_each(rows, _trap)), _NOTES)


def _trained(settings: Settings) -> list[Row]:
    names = settings.sizes["networks"]
    depths = settings.sizes["depths"]
    width = settings.sizes["width"]
    batches = settings.sizes["batches"]
    epochs = settings.sizes["epochs"]
    rate = settings.sizes["rate"]
    sets = (settings.data,) if settings.data else settings.sizes["sets"]
    if settings.out is not None and not settings.resume and any(Path(settings.out).glob("*.pt")):
        raise LoadError(
            f"while training in {settings.out}: expected a folder without checkpoints, got those of an earlier run; "
            "pass --resume (resume=True) to go on with them, or choose another folder"
        )
    share = settings.sizes["fraction"]
    tested = settings.sizes["tested"]
    rows: list[Row] = []
    for data in sets:
        known, test = splits(data, directory=None if settings.directory is None else str(settings.directory))
        test = test.take(tested or None, seed=settings.seed)
        for seed in range(settings.seed, settings.seed + settings.sizes["seeds"]):
            some = known.take(round(share * len(known)), seed=seed) if share < 1 else known
            for batch, depth, name in product(batches, depths, names):
                activation, _, weights = name.partition("-")
                gamma = 0.0 if activation == "linear" else _GAMMA
                setting = Setting(activation, weights, gamma, rate, depth, width, batch)
                run = train_setting(
                    setting, some, test, epochs=epochs, seed=seed, checkpoints=settings.out,
                    on_epoch=_told(f"{name}, depth {depth}, {data}", epochs),
                )  # fmt: skip
                seen = check_batch(some.inputs[:batch], width=width, weights=weights, centred=True)
                where = {"data": data, "network": name, "depth": depth, "width": width, "seed": seed}
                where |= {"batch": batch, "rank": seen.rank_in_network, "growth": seen.growth(depth)}
                rows += [
                    {**where, "epoch": e.epoch, "images": len(some), "rate": rate}
                    | {column: getattr(e, column) for column in _MEASURED}
                    | {
                        "test_accuracy_se": _sampling(e.test_accuracy, len(test)),
                        "diverged": int(run.diverged),
                    }
                    for e in run.history
                ]
                last = run.history[-1]
                ended = "diverged" if run.diverged else f"test accuracy {last.test_accuracy:.3f}"
                settings.say(f"{name}, depth {depth}, {data}: {last.epoch} epochs, {ended}")
    return rows


def _told(label: str, epochs: int) -> Callable[[Any], None]:
    """Log each epoch, with the time that is left to this network at its pace."""

    def tell(epoch: Any) -> None:
        if not epoch.epoch or math.isnan(epoch.seconds):
            _log.info(
                "%s: first of %d epochs, test accuracy %.3f before it", label, epochs, epoch.test_accuracy
            )
            return
        left = epoch.seconds * (epochs - epoch.epoch) / 60
        _log.info(
            "%s: %d of %d epochs done, loss %.4f, test accuracy %.3f, about %.0f min of training left",
            label, epoch.epoch, epochs, epoch.loss, epoch.test_accuracy, left,
        )  # fmt: skip

    return tell


def _sampling(share: float, samples: int) -> float:
    return math.sqrt(share * (1 - share) / samples) if math.isfinite(share) else math.nan


def _each(rows: Sequence[Row], claim: Callable[[str, list[Row]], list[Claim]]) -> list[Claim]:
    """The claims about every network of every depth, from its rows of all seeds."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        label = f"{row['network']}, depth {int(row['depth'])}, {row['data']}{_batch(row)}"
        groups.setdefault(label, []).append(row)
    return [one for label, members in groups.items() for one in claim(label, members)]


def _batch(row: Row) -> str:
    """Width and batch where one is not the paper's."""
    sizes = (int(row["width"]), int(row["batch"]))
    return "" if sizes == (100, 100) else f", width {sizes[0]}, batches of {sizes[1]}"


def _last(rows: Sequence[Row]) -> list[Row]:
    """The last row of each seed."""
    return list({row["seed"]: row for row in rows}.values())


def _mean(rows: Sequence[Row], name: str) -> tuple[float, float]:
    """Mean over seeds and its standard error; 0 for one seed, whose spread is not known."""
    values = [float(row[name]) for row in rows]
    mean = sum(values) / len(values)
    spread = sum((v - mean) ** 2 for v in values) / max(len(values) - 1, 1)
    return mean, math.sqrt(spread / len(values))


def _facts(rows: Sequence[Row]) -> str:
    last, seeds, epochs = rows[-1], len(_last(rows)), int(rows[-1]["epoch"])
    return (
        f"{epochs} epoch{'s' * (epochs != 1)} of {int(last['images'])} images at the rate {last['rate']:g}, "
        f"{seeds} seed{'s' * (seeds != 1)}"
    )


def _trains(label: str, rows: list[Row]) -> list[Claim]:
    ends = _last(rows)
    gone = sum(int(row["diverged"]) for row in ends)
    if "normal" in label:
        learnt = [0.0 if row["diverged"] else float(row["train_accuracy"]) for row in ends]
        held, growth = sum(learnt) / len(learnt), float(ends[-1]["growth"])
        return [
            decided(
                f"{label}: training accuracy, 0 where it diverged", holds=(held < _LEARNT) == (growth > _GROWN),
                ours=held, otherwise="differs", paper="gradients of Gaussian weights explode (Figure 3)",
                why=f"{gone} of {len(ends)} diverged; {_facts(rows)}. Below {_LEARNT:g} a network has learnt "
                f"next to nothing, which is expected where log ‖∇W‖ grows by more than log 10; theory for linear "
                f"networks gives {growth:.2g}",
            )
        ]  # fmt: skip
    kept = [row for row in ends if not row["diverged"]]
    mean, error = _mean(kept, "train_accuracy") if kept else (math.nan, math.nan)
    aim = ".48 on CIFAR-10" if "linear" in label else ".95 to .97"
    return [
        decided(
            f"{label}: training accuracy", holds=not gone and mean > _LEARNT, ours=mean, error=error,
            paper=f"trains at any depth; about {aim} after 1000 epochs (Figure 4)",
            why=f"{_facts(rows)}; {gone} diverged. Judged is whether the network learns, not the paper's number, which "
            "takes a thousand epochs",
        )
    ]  # fmt: skip


def _stays_orthogonal(label: str, rows: list[Row]) -> list[Claim]:
    ends = [row for row in _last(rows) if not row["diverged"]]
    if not ends:
        return []
    gap, error = _mean(ends, "weight_gap_middle")
    ratio = max(abs(float(row["log_grad_first"]) - float(row["log_grad_last"])) for row in ends)
    return [
        decided(
            f"{label}: isometry gap of the middle weights at the end", holds=gap < 1e-3, ours=gap, error=error,
            reference=1.3e-4, paper="1e-5 to 1.3e-4 between epochs 50 and 300 (Figure 6a, by eye)",
            why=f"{_facts(rows)}; a matrix of independent normal entries has a gap of about 1",
        ),
        decided(
            f"{label}: log ratio of the gradients of the first and of the last weights", holds=ratio < math.log(10),
            ours=ratio, paper="about the same in every layer, larger at the ends (Figure 6b)",
            why=f"the largest of the seeds; within a factor of ten. {_facts(rows)}",
        ),
    ]  # fmt: skip


def _trap(label: str, rows: list[Row]) -> list[Claim]:
    """Whether running averages lose accuracy where the rank of a batch is too low, and only there."""
    ends = [row for row in _last(rows) if not row["diverged"]]
    if not ends:
        return []
    (good, error), (bad, _), (batch, _) = (
        _mean(ends, name) for name in ("test_accuracy", "test_accuracy_running", "test_accuracy_batch")
    )
    last = ends[-1]
    deep, images = last["growth"] > _GROWN, math.hypot(error, last["test_accuracy_se"])
    known = (last["data"], last["depth"], last["width"], last["batch"]) == ("digits", 1000, 100, 100)
    return [
        decided(
            f"{label}: test accuracy that running averages lose", holds=(good - bad > _LOSES) == deep, ours=good - bad,
            error=images, reference=_LOST if known else math.nan, otherwise="differs",
            why=f"{good:.3f} on statistics recalibrated layer by layer on training images, {batch:.3f} on those of the "
            f"test batch, {bad:.3f} on running averages. {_facts(rows)}. A batch has rank {last['rank']:g} in width "
            f"{last['width']:g}, which predicts that log ‖∇W‖ grows by {last['growth']:.2g} over {last['depth']:g} "
            f"layers: running averages are expected to {'lose' if deep else 'hold'}, since what they miss in one layer "
            "grows alike",
        )
    ]  # fmt: skip


_NOTES = (
    "Width and batches are as given; batch norm is centred. Sin and tanh have gains ℓ^(−.4) in front.",
    "A fraction of the training images and a number of test images (tested; 0 for all) may be set.",
    "Accuracies are on statistics recalibrated on training images unless a column says else. Epoch 0 is the start.",
    "rank is that of a centred batch, at most the width; growth is what theory predicts for log ‖∇W‖ over all layers.",
    "The paper trains for about a thousand epochs; a short run tells whether a network learns, not where it ends.",
)


def draw_accuracies(findings: Findings) -> Markup:
    """Training accuracy by epoch, as Figure 4, a chart for each depth; test accuracy beside."""
    return _drawn(findings, {"train_accuracy": "Training accuracy", "test_accuracy": "Test accuracy"})


def draw_orthogonality(findings: Findings) -> Markup:
    """The gap of the middle weights and the gradients of the two ends by epoch, as Figure 6."""
    return _drawn(
        findings,
        {"weight_gap_middle": "Gap of the middle weights", "log_grad_first": "log ‖∇W‖, first layer",
         "log_grad_last": "log ‖∇W‖, last layer"},
    )  # fmt: skip


def draw_statistics(findings: Findings) -> Markup:
    """Test accuracy by epoch on each kind of statistics."""
    kinds = {
        "test_accuracy": "recalibrated", "test_accuracy_batch": "test batch",
        "test_accuracy_running": "running averages",
    }  # fmt: skip
    parts = []
    for label, rows in _panels(findings).items():
        one = [
            {"statistics": word, "epoch": row["epoch"], "accuracy": row[column]}
            for column, word in kinds.items()
            for row in rows
        ]
        chart = line_chart(
            lines(one, "epoch", "accuracy", by="statistics"), title="Test accuracy", x=Axis("epoch"),
            y=Axis("test accuracy"),
        )  # fmt: skip
        parts.append(section(label, grid(chart)))
    return Markup("".join(parts))


def _panels(findings: Findings) -> dict[str, list[Row]]:
    panels: dict[str, list[Row]] = {}
    for row in findings.rows:
        panels.setdefault(f"{row['data']}, depth {row['depth']:g}{_batch(row)}", []).append(row)
    return panels


def _drawn(findings: Findings, columns: Mapping[str, str]) -> Markup:
    parts = []
    for label, rows in _panels(findings).items():
        charts = [
            line_chart(
                lines(rows, "epoch", column, by="network"), title=title, x=Axis("epoch"),
                y=Axis(title.lower(), scale="log" if "gap" in column else "linear"),
            )
            for column, title in columns.items()
        ]  # fmt: skip
        parts.append(section(label, grid(*charts)))
    return Markup("".join(parts))


_SOURCE = "Meterez et al., ICLR 2024"
_DATA = "digits at quick scale; mnist and cifar10 at paper scale"


def _known(name: str) -> None:
    """Refuse a name that is not an activation and a kind of weights."""
    activation, _, weights = name.partition("-")
    if weights not in KINDS:
        raise DomainError(
            "while building a batch-normalised network: expected an activation and its weights, such as "
            f"{' or '.join(f'sin-{kind}' for kind in KINDS)}, got {name!r}"
        )
    activations.get(activation)


def _sizes(
    *names: str, depth: int = 100, width: int = 50, epochs: int = 4, rate: float = 0.01,
    batches: tuple[int, ...] = (100,), paper: tuple[str, ...] | None = None,
) -> dict[str, Size]:  # fmt: skip
    """The sizes of a study of these networks, from those of its quick scale."""
    return {
        "networks": Size(names, names if paper is None else paper, check=_known),
        "depths": Size((depth,), (100, 500, 1000)),
        "width": Size(width, 100, low=2),
        "batches": Size(batches, (100,), low=2),
        "epochs": Size(epochs, 1000),
        "rate": Size(rate, 0.001, low=0, positive=True),
        "sets": Size(("digits",), ("mnist", "cifar10")),
        "fraction": Size(1.0, 1.0, low=0, high=1, positive=True),
        "seeds": Size(1, 3),
        "tested": Size(0, 0, low=0),
    }


STUDIES: tuple[Study, ...] = (
    Study(
        name="meterez2024/training",
        shows="that networks of 100 to 1000 batch norms train with orthogonal weights and not with Gaussian",
        source=f"{_SOURCE}, Figure 4",
        data=_DATA,
        cost={
            "quick": "8 s: 4 networks of 100 layers, 4 epochs of digits",
            "paper": "about 5 months on one core: 6 networks of 3 depths, 2 image sets, 3 seeds, 1000 epochs",
        },
        measure=accuracies,
        draw=draw_accuracies,
        sizes=_sizes("linear-orthogonal", "sin-orthogonal", "linear-normal", "sin-normal", paper=_ALL),
        takes_images=True,
        keeps_runs=True,
    ),
    Study(
        name="meterez2024/implicit-orthogonality",
        shows="that training leaves the weights of deep batch-normalised networks close to orthogonal",
        source=f"{_SOURCE}, Figure 6",
        data=_DATA,
        cost={
            "quick": "3 s: tanh, 100 layers, 4 epochs of digits",
            "paper": "about 1 month on one core: tanh of 3 depths, 2 image sets, 3 seeds, 1000 epochs",
        },
        measure=orthogonality,
        draw=draw_orthogonality,
        sizes=_sizes("tanh-orthogonal"),
        takes_images=True,
        keeps_runs=True,
    ),
    Study(
        name="meterez2024/running-averages",
        shows="that running averages fail deep batch-normalised networks where the rank of a batch is below the width",
        source=f"{_SOURCE}; the finding is ours",
        data=_DATA,
        cost={
            "quick": "7 s: linear, 300 layers, batches of 16 and 100, 2 epochs of digits",
            "paper": "about 1 month on one core: linear of 3 depths, 2 image sets, 3 seeds, 1000 epochs",
        },
        measure=statistics,
        draw=draw_statistics,
        # a batch of 16 has a rank far below the width, one of 100 has not
        sizes=_sizes("linear-orthogonal", depth=300, width=32, epochs=2, rate=0.002, batches=(16, 100)),
        takes_images=True,
        keeps_runs=True,
    ),
)
