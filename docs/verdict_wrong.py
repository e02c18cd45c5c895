"""What wrong verdicts are made of: ``python docs/verdict_wrong.py [PART...]``.

Reads the tidy table of the study, trains the starts of the given parts that have a wrong verdict again (other batches,
more steps, rates beyond the grid; what is stored is not trained anew), and writes what became of all of them. MNIST and
Fashion-MNIST are read from FIRSTLIGHT_DATA. The cheapest architectures come first, and a run that was stopped goes on.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from firstlight.experiments import verdicts
from firstlight.experiments.verdicts.outcomes import BATCH, JUDGED, RATES, STEPS, guessed, stackable

HERE = Path(__file__).parent / "theory"
PARTS = ("training", "held out", "fresh", "new kinds")
SPOKEN = {"sgd": "SGD", "adam": "Adam"}
LONGER = 250
# rates below and above those of the study
OUTER = {"sgd": ((0.0005,), (2.0, 8.0)), "adam": ((0.00006,), (0.08,))}
# two more orders of the batches, beside those of the repeats
ORDERS, SEED = (3, 4), 1_000_003
# architectures whose training takes more seconds are trained again with the first order alone
LONG = 60.0
LINE, LITTLE = 0.5, 0.3
WHY = {
    "chance": "another training ends on the other side of the line",
    "rate": "a rate outside the grid passes the line",
    "slower": f"{LONGER} steps pass the line",
    "stays": "stays behind",
}


@dataclass(frozen=True)
class Wrong:
    """A start with a wrong verdict: its row of the tidy table, its number, what it reached, and the best start."""

    row: dict[str, str]
    start: int
    share: float
    reach: float
    best: int

    @property
    def name(self) -> tuple[str, str, int]:
        """Architecture, optimiser and start."""
        return self.row["number"], self.row["optimiser"], self.start

    @property
    def missed(self) -> bool:
        """Whether it failed, and was not unhealthy."""
        return self.row["failed"] == "True"


def wrongs(rows: Sequence[dict[str, str]]) -> list[Wrong]:
    """The starts that failed without an unhealthy verdict, or did not fail with one."""
    found = []
    for place in range(0, len(rows), 8):  # four starts, each with two optimisers
        for optimiser in RATES:
            mine = [row for row in rows[place : place + 8] if row["optimiser"] == optimiser]
            last = [min(float(row[f"loss {i}"]) for i in range(4)) for row in mine]
            guess, best = float(mine[0]["guess"]), min(last)
            for number, row in enumerate(mine):
                flagged = row["verdict"] in ("unhealthy", "not judged")
                if row["failed"] and flagged != (row["failed"] == "True"):
                    share = (guess - last[number]) / (guess - best)
                    found.append(Wrong(row, number, share, (guess - best) / guess, last.index(best)))
    return found


def again(
    mine: Sequence[Wrong], tasks: verdicts.Tasks, orders: Sequence[int] = ORDERS
) -> list[dict[str, object]]:
    """Train starts of one architecture with one optimiser again, beside the best start that is known."""
    one, name = verdicts.architecture(int(mine[0].row["number"])), mine[0].row["optimiser"]
    inputs, targets, models = stackable(one, tasks, 0)
    judged = inputs[:JUDGED], targets[:JUDGED]
    guess = guessed(judged[1])
    chosen = sorted({mine[0].best, *(w.start for w in mine)})

    def ends(
        which: Sequence[int], order: int, rates: Sequence[float], steps: int
    ) -> dict[int, dict[float, float]]:
        g = torch.Generator().manual_seed(one.number + SEED * order)
        rows = [torch.randint(len(inputs), (BATCH,), generator=g) for _ in range(steps)]
        trained = verdicts.courses(
            [models[i] for i in which],
            (inputs, targets),
            judged,
            name,
            rows=rows,
            marks=(steps,),
            rates=rates,
        )
        losses = [course[steps] for course in trained]
        return {i: dict(zip(rates, losses[n * len(rates) :], strict=False)) for n, i in enumerate(which)}

    whole = {order: ends(chosen, order, RATES[name], STEPS) for order in orders}
    reach = {
        order: max(guess - min(min(losses.values()) for losses in found.values()), 1e-9)
        for order, found in whole.items()
    }
    records = []
    for w in mine:

        def share(found: dict[float, float], order: int) -> float:
            return round(max((guess - min(found.values())) / reach[order], -1.0), 4)

        record: dict[str, object] = {
            "name": w.name,
            "again": [share(whole[o][w.start], o) for o in orders],
        }
        if w.missed:
            first = whole[orders[0]][w.start]
            better = sorted(first, key=first.__getitem__)[:2]
            longer = ends([w.start], orders[0], better, LONGER)[w.start]
            record["longer"] = share(longer, orders[0])
            edge = {RATES[name][0]: 0, RATES[name][-1]: 1}.get(better[0])
            if edge is not None:
                outer = ends([w.start], orders[0], OUTER[name][edge], STEPS)[w.start]
                record["outer"] = share(outer, orders[0])
        records.append(record)
    return records


def run(path: Path, every: Sequence[Wrong], seconds: dict[int, float]) -> dict[tuple[str, str, int], dict]:
    """Train again what the file does not hold yet; what it holds, by architecture, optimiser and start."""
    done = read(path)
    tasks = verdicts.Tasks()
    groups: dict[tuple[str, str], list[Wrong]] = {}
    for w in every:
        if w.name not in done:
            groups.setdefault(w.name[:2], []).append(w)
    for (number, optimiser), mine in sorted(groups.items(), key=lambda item: seconds[int(item[0][0])]):
        orders = ORDERS[: 1 if seconds[int(number)] > LONG else 2]
        with path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(record) + "\n" for record in again(mine, tasks, orders))
        print(f"trained {len(mine)} starts of {number} again, {optimiser}", flush=True)
    return read(path)


def read(path: Path) -> dict[tuple[str, str, int], dict]:
    """What the file holds, by architecture, optimiser and start."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {tuple(record["name"]): record for record in map(json.loads, lines)}


def why(w: Wrong, record: dict) -> str:
    """What a wrong verdict is, by the first of the reasons that holds."""
    if any((share < LINE) != w.missed for share in record["again"]):
        return "chance"
    if record.get("outer", 0.0) >= LINE:
        return "rate"
    return "slower" if record.get("longer", 0.0) >= LINE else "stays"


def table(every: Sequence[Wrong], known: dict[tuple[str, str, int], dict]) -> str:
    """Misses and false alarms by part, optimiser and reason; of the misses, how many have no warning."""
    heads = ["", *(f"{part}, {spoken}" for part in PARTS for spoken in SPOKEN.values())]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for missed, what in ((True, "misses"), (False, "false alarms")):
        cells: dict[str, list[str]] = {}
        for part in PARTS:
            for optimiser in SPOKEN:
                mine = [
                    w
                    for w in every
                    if (w.row["part"], w.row["optimiser"], w.missed) == (part, optimiser, missed)
                ]
                rows = {what: mine}
                for reason, words in WHY.items():
                    if missed or reason in ("chance", "stays"):
                        rows[f"{what}: {words}"] = [
                            w for w in mine if w.name in known and why(w, known[w.name]) == reason
                        ]
                rows[f"{what}: not trained again"] = [w for w in mine if w.name not in known]
                if missed:
                    rows[f"{what} whose best start takes less than {LITTLE:g} of a guess's loss away"] = [
                        w for w in mine if w.reach < LITTLE
                    ]
                for label, found in rows.items():
                    silent = sum(w.row["verdict"] == "healthy" for w in found)
                    cells.setdefault(label, []).append(f"{len(found)}" + (f" ({silent})" if missed else ""))
        lines += ["| " + " | ".join([label, *row]) + " |" for label, row in cells.items()]
    return "\n".join(lines) + "\n"


def said(rows: Sequence[dict[str, str]]) -> str:
    """What was said of failed and of sound starts, and what became of what was said, for each part."""
    lines = [
        "| | failed starts: healthy | warning | unhealthy | sound starts: unhealthy | of healthy ones failed | of "
        "warned ones | of unhealthy ones |",
        "|---" * 8 + "|",
    ]
    for part in PARTS:
        for optimiser, spoken in SPOKEN.items():
            mine = [r for r in rows if (r["part"], r["optimiser"]) == (part, optimiser) and r["failed"]]
            failed = [r["verdict"] for r in mine if r["failed"] == "True"]
            sound = [r["verdict"] for r in mine if r["failed"] == "False"]
            grave = ("unhealthy", "not judged")
            levels = (("healthy",), ("warning",), grave)
            cells = [_share([v in level for v in failed]) for level in levels]
            cells.append(_share([v in grave for v in sound]))
            cells += [
                _share([r["failed"] == "True" for r in mine if r["verdict"] in level]) for level in levels
            ]
            lines.append("| " + " | ".join([f"{part}, {spoken}", *cells]) + " |")
    return "\n".join(lines) + "\n"


def _share(flags: Sequence[bool]) -> str:
    return f"{sum(flags)} of {len(flags)}, {sum(flags) / max(len(flags), 1):.0%}".replace("%", " %")


def write(parts: Sequence[str] = ()) -> None:
    """Write both tables from what is stored, after training again the wrong starts of some parts."""
    with (HERE / "verdict_study.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    every = wrongs(rows)
    with (verdicts.study.STORED / "outcomes.jsonl").open(encoding="utf-8") as file:
        took = {line["architecture"]: line["seconds"] for line in map(json.loads, file)}
    known = run(HERE / "verdict_wrong.jsonl", [w for w in every if w.row["part"] in parts], took)
    (HERE / "verdict_wrong.inc").write_text(table(every, known), encoding="utf-8")
    (HERE / "verdict_said.inc").write_text(said(rows), encoding="utf-8")


if __name__ == "__main__":
    torch.set_num_threads(1)
    write(sys.argv[1:])
