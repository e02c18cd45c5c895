"""The numbers in the pages about what was found are those of the stored results."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
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


AHEAD = ("odd(3)", "odd(10)", "critical(3)")


def closed_form() -> list[str]:
    """Largest error of the authors' closed form, and the distances that its error costs."""
    start = "the authors' closed form, fitted anew: largest"
    costs = re.findall(r"costs (\S+) to (\S+)", claim("wolinski2025/pair", f"{start} KS").why)[0]
    error = claim("wolinski2025/pair", f"{start} distance").ours
    return [short(error, 2), short(float(costs[0]), 4), short(float(costs[1]), 3)]


def at_chance() -> list[str]:
    """Mean test accuracies of deep networks of positive pairs."""
    cells = (("mnist", 100), ("mnist", 10), ("cifar10", 100))
    where = {"network": "positive(3)", "depth": 30}
    return [mean(TABLES, "accuracy", 3, data=data, width=width, **where) for data, width in cells]


def lost_by_odd() -> list[str]:
    """What the odd pair of θ = 3 loses in wide deep networks on CIFAR-10, and the interval."""
    cell = "odd(3) 30×100, cifar10"
    ends = sorted(-float(end.replace("−", "-")) for end in interval(cell))
    return [short(-claim(TABLES, f"{cell}: gain").ours, 2), *(short(end, 2) for end in ends)]


# where the numbers stand, and the numbers in the order of the page
NUMBERS: dict[str, tuple[str, Callable[[], Sequence[str]]]] = {
    "gradients of positive pairs": (FOUND, lambda: chi("positive")),
    "odd pairs drift": (FOUND, lambda: [ks(width) for width in (3, 10, 100, 1000)]),
    "closed form": (FOUND, lambda: closed_form()),
    "running averages": (FOUND, lambda: [lost("mnist", batch=100)[2], lost("cifar10")[2]]),
    "running averages, low rank": (
        FOUND, lambda: [*lost("mnist", batch=50)[1::-1], *lost("digits", width=100)[1::-1]]
    ),
    "positive pairs at chance": (STARTS, lambda: at_chance()),
    "odd pair, wide, CIFAR-10": (STARTS, lambda: interval("odd(10) 30×100, cifar10")),
    "odd pair of θ = 3, wide, CIFAR-10": (STARTS, lambda: lost_by_odd()),
    "30×10 on MNIST": (STARTS, lambda: [gain(f"{name} 30×10, mnist") for name in AHEAD]),
    "30×10 on MNIST, intervals": (
        STARTS, lambda: [end for name in AHEAD for end in interval(f"{name} 30×10, mnist")]
    ),
    "10×10 on MNIST": (STARTS, lambda: interval("odd(3) 10×10, mnist")),
    "width 10 on CIFAR-10": (STARTS, lambda: [gain(f"odd(10) {depth}×10, cifar10") for depth in (3, 10, 30)]),
    "width 10 on CIFAR-10, intervals": (
        STARTS, lambda: [end for depth in (3, 10, 30) for end in interval(f"odd(10) {depth}×10, cifar10")]
    ),
    "critical pair on CIFAR-10": (
        STARTS, lambda: [end for depth in (3, 30) for end in interval(f"critical(3) {depth}×10, cifar10")]
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_of_the_page_are_the_stored_ones(name):
    page, numbers = NUMBERS[name]
    wanted = r".{1,60}?".join(rf"(?<![\d.]){re.escape(one)}(?!\d)" for one in numbers())
    assert re.search(wanted, text(page)), numbers()


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


def test_the_table_of_held_terms_is_the_stored_one():
    result = stored("holding")
    page = text("guide/holding.md").replace("−", "-")
    for one in result.claims:
        term = one.quantity.split()[0]
        row = re.search(rf"\| `{term}`[^|]*\| (\S+(?: 000)?) \| (\S+(?: \d{{3}})?) ± (\S+) \|", page)
        assert row is not None, term
        before, gap, error = (float(cell.replace(" ", "")) for cell in row.groups())
        plain = [r[term] for r in result.findings.select(term="none")]
        assert len(plain) == 8
        # the page rounds to two or three digits, and errors to one
        assert before == pytest.approx(sum(plain) / 8, rel=0.01)
        assert gap == pytest.approx(one.ours, rel=0.01)
        assert error == pytest.approx(one.error, rel=0.35)
    assert all(row["audit_healthy"] for row in result.findings.rows)
