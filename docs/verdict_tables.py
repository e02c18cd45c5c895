"""Write the tables of the page on verdicts and training: ``python docs/verdict_tables.py [FOLDER]``.

The folder keeps the audits, so that a run that was stopped goes on; MNIST is read from FIRSTLIGHT_DATA.
"""

from __future__ import annotations

import sys
from pathlib import Path

from firstlight.experiments import verdicts

HERE = Path(__file__).parent / "theory"

if __name__ == "__main__":
    made = verdicts.reproduce(out=sys.argv[1] if len(sys.argv) > 1 else None, tell=print)
    for half, name in (("fresh", "fresh"), ("held out", "held_out"), ("training", "training")):
        tables = verdicts.study_markdown(made.half(half))
        (HERE / f"verdict_tables_{name}.inc").write_text(tables, encoding="utf-8")
    (HERE / "verdict_study.csv").write_text(verdicts.tidy(made.outcomes, made.scores), encoding="utf-8")
