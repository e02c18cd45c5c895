"""The training tables: pairs beside tanh and ReLU, by the paper's protocol."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from firstlight.experiments.claim import Claim, decided
from firstlight.experiments.drawing import lines
from firstlight.experiments.findings import Findings
from firstlight.experiments.gain import paired_gain
from firstlight.experiments.study import Settings, Size, Study
from firstlight.experiments.wolinski2025.networks import THETAS, known, network
from firstlight.files import named_inside
from firstlight.files.plain_data import Record
from firstlight.render.axis import Axis
from firstlight.render.chart import Rule, line_chart
from firstlight.render.markup import Markup
from firstlight.render.page import grid, section
from firstlight.training import PROTOCOLS, TrainingPlan, TrainingRules, load_images, train_seeds

if TYPE_CHECKING:
    from firstlight.training.seeds.result import SeedRun

Model = Literal["mlp", "lenet"]
Row = Mapping[str, Any]
_PLAIN = ("tanh", "relu")
_QUICK = (*_PLAIN, "odd(10)", "critical(3)", "positive(3)")
_PAPER = (*_PLAIN, *(f"{kind}({theta:g})" for kind in ("odd", "positive", "critical") for theta in THETAS))
# test accuracy of ten classes by chance, and what cannot be told from chance by 10 000 images
_CHANCE, _NEAR = 0.1, 0.02


@dataclass(frozen=True)
class _Cell:
    """One cell of a table: a network of one size on one image set."""

    data: str
    name: str
    depth: int
    width: int

    @property
    def label(self) -> str:
        size = f" {self.depth}×{self.width}" if self.depth else ""
        return f"{self.name}{size}, {self.data}"


def tables(settings: Settings) -> Findings:
    """Training loss and test accuracy of MLPs of every depth and width."""
    depths = settings.sizes["depths"]
    widths = settings.sizes["widths"]
    return _measured("mlp", settings, [(depth, width) for width in widths for depth in depths])


def lenets(settings: Settings) -> Findings:
    """Training loss and test accuracy of LeNets."""
    return _measured("lenet", settings, [(0, 0)])


def _measured(model: Model, settings: Settings, sizes: Sequence[tuple[int, int]]) -> Findings:
    names = settings.sizes["networks"]
    sets = (settings.data,) if settings.data else settings.sizes["sets"]
    rows: list[Row] = []
    for data in sets:
        images = None
        for depth, width in sizes:
            for name in names:
                cell = _Cell(data, name, depth, width)
                plan = _plan(model, cell, settings)
                if images is None:
                    images = load_images(plan, directory=settings.directory, download=False)
                out = (
                    None if settings.out is None else named_inside(settings.out, f"{model} {cell.label}", "")
                )
                begun = out is not None and (out / "plan.json").exists()
                result = train_seeds(plan, images=images, out=out, resume=settings.resume and begun)
                found = [_row(cell, run, len(images.test.classes)) for run in result.runs]
                rows += found
                mean = sum(row["accuracy"] for row in found) / len(found)
                settings.say(f"{model} {cell.label}: test accuracy {mean:.3f} over {len(found)} seeds")
    return Findings(tuple(rows), tuple(_claims(rows)), _notes(settings, plan))


def _plan(model: Model, cell: _Cell, settings: Settings) -> TrainingPlan:
    described = network(cell.name, width=max(cell.width, 1), depth=max(cell.depth, 1))
    quick = TrainingRules(batch=50)
    rules = quick if settings.scale == "quick" else PROTOCOLS["wolinski2025"]
    return TrainingPlan(
        model=model, depth=max(cell.depth, 1), width=max(cell.width, 1), activation=str(described.activation),
        weights=str(described.weight_law), sigma_w=described.sigma_w, sigma_b=described.sigma_b, data=cell.data,
        fraction=settings.sizes["fraction"],
        seeds=tuple(range(settings.seed, settings.seed + settings.sizes["seeds"])),
        epochs=settings.sizes["epochs"], rules=rules,
        native=settings.sizes["native"],
    )  # fmt: skip


def _row(cell: _Cell, run: SeedRun, tested: int) -> Record:
    right, last = run.test_accuracy, run.epochs[-1]
    return {
        "data": cell.data, "network": cell.name, "depth": cell.depth, "width": cell.width, "seed": run.seed,
        "epochs": len(run.epochs), "best_epoch": run.best_epoch, "loss": run.loss,
        "validation_loss": min(e.validation_loss for e in run.epochs), "test_loss": run.test_loss,
        "accuracy": right, "accuracy_se": math.sqrt(right * (1 - right) / tested), "train_accuracy": last.accuracy,
        "end": run.end,
    }  # fmt: skip


def _claims(rows: Sequence[Row]) -> list[Claim]:
    """At every size each pair beside the better of tanh and ReLU; of deep positive pairs, that they do not train."""
    cells: dict[_Cell, list[Row]] = {}
    for row in rows:
        cell = _Cell(row["data"], row["network"], int(row["depth"]), int(row["width"]))
        cells.setdefault(cell, []).append(row)
    claims = []
    for cell, members in cells.items():
        plain = [
            other for name in _PLAIN if (other := cells.get(_Cell(cell.data, name, cell.depth, cell.width)))
        ]
        if cell.name in _PLAIN or not plain:
            continue
        rival = min(plain, key=lambda group: _mean(group, "validation_loss"))
        claims.append(_desirable(cell, members, rival))
        if cell.name.startswith("positive") and cell.depth >= 30:
            claims.append(_stuck(cell, members))
    return claims


def _desirable(cell: _Cell, members: Sequence[Row], rival: Sequence[Row]) -> Claim:
    """Whether the Gaussian start gains test accuracy over the better of tanh and ReLU, seed by seed."""
    by_seed = {row["seed"]: row for row in rival}
    members = [row for row in members if row["seed"] in by_seed]
    rival = [by_seed[row["seed"]] for row in members]
    mine, theirs = ([float(row["accuracy"]) for row in group] for group in (members, rival))
    # all seeds are tested on the same images, whose draw the spread over seeds does not show
    images = math.hypot(*(_mean(group, "accuracy_se") for group in (members, rival)))
    gain = paired_gain(mine, theirs, shared=images)
    holds = True if gain.low > 0 else False if gain.high < 0 else None
    return decided(
        f"{cell.label}: gain of test accuracy over the better of tanh and ReLU", holds=holds, ours=gain.mean,
        error=gain.error, reference=0.0,
        paper="asks whether Gaussian pre-activations are desirable; its tables could not be read",
        why=f"{_mean(members, 'accuracy'):.3f} beside {_mean(rival, 'accuracy'):.3f} of {rival[0]['network']}, chosen "
        f"by validation loss; 95 % interval {gain.low:+.3f} to {gain.high:+.3f} from {len(mine)} seeds, which share "
        "split and order, and from the number of test images",
    )  # fmt: skip


def _stuck(cell: _Cell, members: Sequence[Row]) -> Claim:
    best = max(float(row["accuracy"]) for row in members)
    return decided(
        f"{cell.label}: a Gaussian start that does not train", holds=best < _CHANCE + _NEAR, ours=best,
        reference=_CHANCE, otherwise="differs",
        why="the largest test accuracy of the seeds beside chance: positive pairs keep N(0, 1) at any depth, and their "
        "gradients shrink by χ₁ ≈ .3 a layer, so that a Gaussian start alone does not make a network trainable",
    )  # fmt: skip


def _mean(rows: Sequence[Row], name: str) -> float:
    return sum(float(row[name]) for row in rows) / len(rows)


def _notes(settings: Settings, plan: TrainingPlan) -> tuple[str, ...]:
    rules = plan.rules
    notes = [
        f"At most {plan.epochs} epochs, {plan.fraction:.3g} of the training and validation images, batches of "
        f"{rules.batch}, {len(plan.seeds)} seeds. The protocol's rules of rate and stop hold; most stops need more "
        "epochs than a short run has.",
        "The first layer is Gaussian. Tanh and ReLU start at their edge of chaos. Test accuracy is that of the epoch "
        "with the lowest validation loss, looked at after training. Chance is .1.",
        "accuracy_se is the sampling error of the test images; the spread over seeds is that of the rows. Each "
        "interval stands for itself: of twenty, one misses by chance.",
    ]
    if settings.scale == "quick":
        notes.append(
            "Quick scale: small networks on 8×8 digits. It shows the machinery, not the paper's question."
        )
    return tuple(notes)


def draw(findings: Findings) -> Markup:
    """Test accuracy and training loss against depth, mean and error over seeds; those of LeNets by seed."""
    parts = []
    for data in findings.values("data"):
        for width in findings.values("width", data=data):
            rows = findings.select(data=data, width=width)
            x, across = ("depth", Axis("depth", scale="log")) if width else ("seed", Axis("seed"))
            charts = [
                line_chart(
                    lines([row for row in rows if math.isfinite(row[column])], x, column, by="network"), title=title,
                    x=across, y=Axis(title.lower()), rules=rules,
                )
                for column, title, rules in (
                    ("accuracy", "Test accuracy", [Rule(_CHANCE, "chance")]),
                    ("loss", "Training loss", [Rule(math.log(10), "log 10")]),
                )
            ]  # fmt: skip
            parts.append(section(f"{data}, width {width:g}" if width else f"{data}, LeNet", grid(*charts)))
    return Markup("".join(parts))


_SIZES = {
    "networks": Size(_QUICK, _PAPER, check=known),
    "sets": Size(("digits",), ("mnist", "cifar10")),
    "seeds": Size(3, 3),
    "epochs": Size(10, 1000),
    "fraction": Size(1.0, 1.0, low=0, high=1, positive=True),
    "native": Size(quick=False, paper=True),
}
STUDY = Study(
    name="wolinski2025/training",
    shows="whether deep and narrow MLPs that start with Gaussian pre-activations train better than tanh and ReLU",
    source="Wolinski & Arbel, TMLR 2025, training tables of MLPs",
    data="digits at quick scale; mnist and cifar10 at paper scale",
    cost={
        "quick": "12 s: 5 networks of 2 depths, 3 seeds, 10 epochs of digits",
        "paper": "about 6 days on one core: 23 networks of 6 sizes on 2 image sets, 3 seeds, until they stop",
    },
    measure=tables,
    draw=draw,
    sizes={"depths": Size((3, 30), (3, 10, 30)), "widths": Size((30,), (10, 100)), **_SIZES},
    takes_images=True,
    keeps_runs=True,
    aliases=("E4",),
)
LENET = Study(
    name="wolinski2025/training-lenet",
    shows="whether a LeNet that starts with Gaussian pre-activations trains better than with tanh and ReLU",
    source="Wolinski & Arbel, TMLR 2025, training tables of LeNets",
    data="digits at quick scale; mnist and cifar10 at paper scale",
    cost={
        "quick": "21 s: 5 networks, 3 seeds, 5 epochs of digits in 32×32",
        "paper": "about 2 days on one core: 23 networks on 2 image sets, 3 seeds, until they stop",
    },
    measure=lenets,
    draw=draw,
    sizes={**_SIZES, "epochs": Size(5, 1000)},
    takes_images=True,
    keeps_runs=True,
)
