"""Held terms in training: one network trained with each term and without, on the same audit and seeds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor, nn

from firstlight import measure as measures
from firstlight.auditing import audit
from firstlight.builders import mlp
from firstlight.data import load
from firstlight.errors import DomainError
from firstlight.experiments.claim import Claim, decided
from firstlight.experiments.findings import Findings
from firstlight.experiments.gain import paired_gain
from firstlight.experiments.study import Settings, Size, Study
from firstlight.files.plain_data import Record
from firstlight.recipes import (
    HOLDS,
    cauchy_schwarz,
    hold,
    hyperspherical_energy,
    norm_loss,
    spectral_deviation,
)
from firstlight.render.markup import Markup
from firstlight.render.page import paragraph, section
from firstlight.render.table import Head, table

# weights of the terms, chosen so that each is of the size of the loss at the start or below
_WEIGHTS = {
    "none": 0.0,
    "cauchy-schwarz": 1e-5,
    "group-orthogonality": 1e-3,
    "norm": 1e-2,
    "spectral": 1e-2,
    "hyperspherical": 1.0,
    "wasserstein": 10.0,
    "vne": 0.3,
    "spectral-decoupling": 0.02,
    "sensitivity": 1.0,
}
_COLUMNS = ("loss", "accuracy", "audit_healthy", "gradient_first_over_last")


def measure(settings: Settings) -> Findings:
    """Loss, accuracy, audit and the held quantity after training with each term, seed by seed.

    Raises
    ------
    DomainError
        Data without classes.
    """
    seeds = settings.sizes["seeds"]
    steps = settings.sizes["steps"]
    depth = settings.sizes["depth"]
    data = load("digits", directory=settings.directory)
    if data.targets is None:
        raise DomainError("while studying held terms: expected data with classes, got none; use digits")
    x, y = data.inputs.flatten(1), data.targets
    rows: list[dict[str, object]] = []
    for name in _WEIGHTS:
        for seed in range(settings.seed, settings.seed + seeds):
            rows.append(
                {"term": name, "seed": seed} | _trained(name, x, y, seed=seed, steps=steps, depth=depth)
            )
        settings.say(f"{name}: {seeds} seeds of {steps} steps")
    return Findings(tuple(rows), tuple(_claims(rows)), _NOTES)


def _trained(name: str, x: Tensor, y: Tensor, *, seed: int, steps: int, depth: int) -> dict[str, float]:
    """One training, and what it ends with; every term is measured at the end, held or not."""
    generator = torch.Generator().manual_seed(seed)
    split = torch.randperm(len(x), generator=generator)
    train, test = split[: len(x) * 3 // 4], split[len(x) * 3 // 4 :]
    net = mlp(
        x.shape[1], 10, depth=depth, width=64, activation="relu", sigma_w=math.sqrt(2), generator=generator
    )
    optimiser = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9)
    noise = torch.Generator().manual_seed(seed + 1000)
    with hold(net, name, _WEIGHTS[name]) if name != "none" else nullcontext() as held:
        for _ in range(steps):
            batch = train[torch.randint(len(train), (64,), generator=generator)]
            loss = nn.functional.cross_entropy(net(x[batch]), y[batch])
            if held is not None:
                other = x[batch] + 0.1 * torch.randn(x[batch].shape, generator=noise)
                loss = loss + (held(other) if name == "sensitivity" else held())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    with torch.no_grad():
        logits = net(x[test])
    found = audit(net, x[test][:128], y[test][:128])
    logs = found.profile.select("weight")["log_grad"]
    ends = {
        "loss": float(nn.functional.cross_entropy(logits, y[test])),
        "accuracy": float((logits.argmax(1) == y[test]).double().mean()),
        "audit_healthy": float(found.healthy),
        "gradient_first_over_last": math.exp(float(logs[0] - logs[-1])),
    }
    return ends | dict(_values(net, x[test], generator=noise))


def _values(net: nn.Sequential, x: Tensor, *, generator: torch.Generator) -> Iterator[tuple[str, float]]:
    """Every quantity that a term holds, of one network."""
    with torch.no_grad():
        linear = [m.weight for m in net if isinstance(m, nn.Linear)]
        yield "cauchy-schwarz", sum(float(cauchy_schwarz(w)) for w in linear)
        yield "norm", sum(float(norm_loss(w)) for w in linear)
        yield "spectral", sum(float(spectral_deviation(w)) for w in linear)
        yield "hyperspherical", sum(float(hyperspherical_energy(w)) for w in linear)
        last = net[:-1](x)
        yield "vne", -measures.von_neumann_entropy(last)
        yield "spectral-decoupling", 0.5 * float(net(x).square().sum(1).mean())
        moved = net[:-1](x + 0.1 * torch.randn(x.shape, generator=generator))
        yield "sensitivity", float((moved - last).abs().mean())


def _claims(rows: list[Record]) -> list[Claim]:
    """Whether each held quantity ends lower with its term than without, over pairs of seeds."""
    claims = []
    for name in _WEIGHTS:
        ours = [row for row in rows if row["term"] == name]
        if name == "none" or name not in ours[0]:
            continue
        plain = [row[name] for row in rows if row["term"] == "none"]
        gain = paired_gain([row[name] for row in ours], plain)
        lower = gain.high < 0
        unclear = not lower and gain.low < 0
        claims.append(
            decided(
                f"{name} at the end, held less not held", holds=None if unclear else lower, ours=gain.mean,
                error=gain.error, reference=0.0, why=f"{HOLDS[name].shows}; 95 % interval {gain.low:.3g} to "
                f"{gain.high:.3g} over {len(plain)} pairs of seeds; without the term {np.mean(plain):.3g}; "
                "our own claim",
            )
        )  # fmt: skip
    return claims


_NOTES = (
    "Eight ReLU layers of width 64 (20 at paper scale) with He's start on digits, SGD with momentum .9, rate .02, "
    "batches of 64. Weights of the terms are one choice each and were not searched for, so that accuracies say nothing "
    "of which term is best.",
    "Wasserstein and group orthogonality are trained with, and not compared: the first needs the start, the second is "
    "the norm and the Cauchy–Schwarz term together.",
)


def draw(findings: Findings) -> Markup:
    """One line for each term: means over seeds of the test loss, the accuracy and the audit."""
    columns = [name for name in _COLUMNS if name in findings.table.columns]
    heads = [Head("term", text=True), *(Head(name.replace("_", " "), "mean over seeds") for name in columns)]
    cells = []
    for term in findings.values("term"):
        own = findings.select(term=term)
        cells.append([term, *(float(np.mean([row[name] for row in own])) for name in columns)])
    told = paragraph("After training, on samples that were held back.")
    return section("With each term and without", told, table(heads, cells))


STUDIES: tuple[Study, ...] = (
    Study(
        name="holding",
        shows="what a network ends with when a measure of its start is held during training, beside the same without",
        source="ours; terms of ten papers",
        data="digits",
        cost={
            "quick": "17 s: 10 trainings, 3 seeds, 150 steps of 8 layers",
            "paper": "about 15 min: 10 seeds, 1000 steps, 20 layers",
        },
        measure=measure,
        draw=draw,
        sizes={"seeds": Size(3, 10), "steps": Size(150, 1000), "depth": Size(8, 20)},
    ),
)
