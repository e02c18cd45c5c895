"""The numbers in the pages about what was found are those of the stored results."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from firstlight.experiments import stored

DOCS = Path(__file__).parents[2] / "docs"
FOUND, STARTS = "guide/what-we-found.md", "theory/gaussian-starts.md"
TABLES, LENETS = "wolinski2025/training", "wolinski2025/training-lenet"


@cache
def text(page: str) -> str:
    return " ".join((DOCS / page).read_text(encoding="utf-8").split())


def short(value: float, digits: int) -> str:
    """As the pages write numbers below 1: ``.469``."""
    return f"{value:.{digits}f}".replace("0.", ".", 1)


def number(study: str, column: str, digits: int, **where: object) -> str:
    (row,) = stored(study).findings.select(**where)
    return short(row[column], digits)


def mean(study: str, column: str, digits: int, **where: object) -> str:
    rows = stored(study).findings.select(**where)
    return short(sum(row[column] for row in rows) / len(rows), digits)


def claim(study: str, start: str):
    (found,) = [c for c in stored(study).claims if c.quantity.startswith(start)]
    return found


def gain(cell: str, *, study: str = TABLES) -> str:
    return short(claim(study, f"{cell}: gain").ours, 3)


def interval(cell: str, *, study: str = TABLES) -> tuple[str, str]:
    ends = re.search(r"95 % interval (\S+) to (\S+)", claim(study, f"{cell}: gain").why)
    assert ends is not None
    return tuple(short(float(end), 3).replace("-", "−") for end in ends.groups())  # type: ignore[return-value]


def between(cell: str) -> str:
    low, high = interval(cell)
    return f"{low} to {high}"


def ks(width: int) -> str:
    return number("wolinski2025/deep-ks", "ks", 3, network="odd(10)", width=width, layer=100)


def lost(data: str, digits: int = 2, **where: object) -> list[str]:
    """Test accuracy with recalibrated statistics, with running averages, and the difference: at depth 1000."""
    rows = stored("meterez2024/running-averages").findings.select(data=data, depth=1000, **where)
    last = max(row["epoch"] for row in rows)
    ends = [row for row in rows if row["epoch"] == last]
    good, bad = (
        sum(r[name] for r in ends) / len(ends) for name in ("test_accuracy", "test_accuracy_running")
    )
    return [short(value, digits) for value in (good, bad, good - bad)]


def chi(kind: str) -> list[str]:
    found = [c.ours for c in stored("wolinski2025/pair").claims if re.match(rf"{kind}, .*χ₁$", c.quantity)]
    assert len(found) == 7
    return [short(min(found), 2), short(max(found), 2)]


SENTENCES: dict[str, tuple[str, Callable[[], str]]] = {
    "gradients of positive pairs": (FOUND, lambda: "shrink to {} to {} of themselves".format(*chi("positive"))),
    "odd pairs drift": (
        FOUND, lambda: f"distance at layer 100 is {ks(3)}, {ks(10)}, {ks(100)} and {ks(1000)}"
    ),
    "closed form": (
        FOUND,
        lambda: "off by up to {} at its very best".format(
            short(claim("wolinski2025/pair", "the authors' closed form, fitted anew: largest distance").ours, 2)
        ),
    ),
    "closed form, products": (
        FOUND,
        lambda: "products that are {} to {} from N(0, 1)".format(
            *(short(float(end), digits) for end, digits in zip(
                re.findall(r"costs (\S+) to (\S+)",
                           claim("wolinski2025/pair", "the authors' closed form, fitted anew: largest KS").why)[0],
                (4, 3), strict=True)),
        ),
    ),
    "running averages": (
        FOUND,
        lambda: f"lose {lost('mnist', batch=100)[2]} on MNIST and {lost('cifar10')[2]} on CIFAR-10",
    ),
    "running averages, low rank": (
        FOUND,
        lambda: "{1} beside {0} here, {3} beside {2} on digits".format(
            *lost("mnist", batch=50)[:2], *lost("digits", width=100)[:2]
        ),
    ),
    "positive pairs at chance": (
        STARTS,
        lambda: "({} and {} on MNIST, {} on CIFAR-10)".format(
            mean(TABLES, "accuracy", 3, data="mnist", network="positive(3)", depth=30, width=100),
            mean(TABLES, "accuracy", 3, data="mnist", network="positive(3)", depth=30, width=10),
            mean(TABLES, "accuracy", 3, data="cifar10", network="positive(3)", depth=30, width=100),
        ),
    ),
    "odd pair, wide, CIFAR-10": (
        STARTS, lambda: "a gain of {} to +{} at 95 %".format(*interval("odd(10) 30×100, cifar10"))
    ),
    "odd pair of θ = 3, wide, CIFAR-10": (
        STARTS,
        lambda: "loses {}, of which the interval is {} to {}".format(
            short(-claim(TABLES, "odd(3) 30×100, cifar10: gain").ours, 2),
            *sorted(short(-float(end.replace("−", "-")), 2) for end in interval("odd(3) 30×100, cifar10")),
        ),
    ),
    "30×10 on MNIST": (
        STARTS,
        lambda: "gain {}, {} and {} over tanh".format(
            *(gain(f"{name} 30×10, mnist") for name in ("odd(3)", "odd(10)", "critical(3)"))
        ),
    ),
    "30×10 on MNIST, intervals": (
        STARTS,
        lambda: "intervals are {}, {} and {}.".format(
            *(between(f"{name} 30×10, mnist") for name in ("odd(3)", "odd(10)", "critical(3)"))
        ),
    ),
    "10×10 on MNIST": (STARTS, lambda: f"θ = 3 gains {between('odd(3) 10×10, mnist')}."),
    "width 10 on CIFAR-10": (
        STARTS,
        lambda: "gains {}, {} and {} at depths 3, 10 and 30".format(
            *(gain(f"odd(10) {depth}×10, cifar10") for depth in (3, 10, 30))
        ),
    ),
    "width 10 on CIFAR-10, intervals": (
        STARTS,
        lambda: "intervals are {}, {} and {}.".format(
            *(between(f"odd(10) {depth}×10, cifar10") for depth in (3, 10, 30))
        ),
    ),
    "critical pair on CIFAR-10": (
        STARTS,
        lambda: f"gains {between('critical(3) 3×10, cifar10')} at 3×10 and {between('critical(3) 30×10, cifar10')} at",
    ),
}  # fmt: skip


@pytest.mark.parametrize("sentence", SENTENCES)
def test_a_number_of_the_page_is_the_stored_one(sentence):
    page, said = SENTENCES[sentence]
    assert said() in text(page)


def test_what_is_said_of_shapes_holds():
    found = stored("wolinski2025/deep-ks").findings
    share = claim("wolinski2025/deep-ks", "tanh, width 10, layer 30: share").ours
    assert 0.05 < share < 0.15  # nine tenths are gone
    for width, far in ((100, {6}), (1000, set())):
        for omega in (2, 3, 6):
            (row,) = found.select(network=f"periodic({omega})", width=width, layer=100)
            assert (row["ks_standardised"] > 0.05) == (omega in far)
            assert row["ks_standardised"] < 0.1 * row["ks"] or omega in far


def test_what_is_said_of_a_thousand_batch_norms_holds():
    ends = {}
    for row in stored("meterez2024/training").findings.rows:
        ends[row["data"], row["network"], row["depth"], row["seed"]] = row
    for (_, network, depth, _), row in ends.items():
        learnt = not row["diverged"] and row["train_accuracy"] > 0.2
        if network.endswith("orthogonal") or depth == 100 or (network, depth) == ("linear-normal", 500):
            assert learnt, row
        else:
            assert not learnt, row
    kept = stored("meterez2024/implicit-orthogonality").findings
    for data in ("mnist", "cifar10"):
        rows = kept.select(data=data, depth=1000)
        assert max(row["weight_gap_middle"] for row in rows) < 1e-7  # to seven digits


def test_where_pairs_gain_and_where_they_do_not():
    claims = [c for c in stored(TABLES).claims if ": gain" in c.quantity]
    wide = [c for c in claims if "×100" in c.quantity]
    assert len(wide) == 24
    assert not [c for c in wide if c.verdict == "reproduced"]
    lenets = [c for c in stored(LENETS).claims if ": gain" in c.quantity]
    assert not [c for c in lenets if c.verdict == "reproduced"]
    assert claim(LENETS, "positive(3), cifar10").verdict == "contradicted"
