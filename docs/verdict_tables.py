"""Write the tables of the page on verdicts and training: ``python docs/verdict_tables.py [FOLDER]``.

The folder keeps the audits, so that a run that was stopped goes on; MNIST and Fashion-MNIST are read from
FIRSTLIGHT_DATA.
"""

from __future__ import annotations

import sys
from pathlib import Path

from firstlight.experiments import verdicts

HERE = Path(__file__).parent / "theory"

if __name__ == "__main__":
    made = verdicts.reproduce(out=sys.argv[1] if len(sys.argv) > 1 else None, tell=print)
    parts = {verdicts.part(int(outcome.start.split(".")[0])) for outcome in made.outcomes}
    for half in sorted(parts):
        name = f"verdict_tables_{half.replace(' ', '_')}.inc"
        (HERE / name).write_text(verdicts.study_markdown(made.half(half)), encoding="utf-8")
    (HERE / "verdict_ceiling.inc").write_text(
        verdicts.ceiling_markdown(verdicts.repeated()), encoding="utf-8"
    )
    (HERE / "verdict_study.csv").write_text(verdicts.tidy(made.outcomes, made.scores), encoding="utf-8")
