"""Write the tables of the page on verdicts and training: ``python docs/verdict_tables.py [FOLDER]``.

The folder keeps the audits, so that a run that was stopped goes on; MNIST and Fashion-MNIST are read from
FIRSTLIGHT_DATA.
"""

from __future__ import annotations

import sys
from pathlib import Path

import verdict_wrong

from firstlight.experiments import verdicts

HERE = Path(__file__).parent / "theory"

if __name__ == "__main__":
    made = verdicts.reproduce(out=sys.argv[1] if len(sys.argv) > 1 else None, tell=print)
    known = {verdicts.part(int(outcome.start.split(".")[0])) for outcome in made.outcomes}
    studies = [made.half(half) for half in verdict_wrong.PARTS if half in known]
    for study in studies:
        name = f"verdict_tables_{study.half.replace(' ', '_')}.inc"
        (HERE / name).write_text(verdicts.study_markdown(study), encoding="utf-8")
    (HERE / "verdict_summary.inc").write_text(verdicts.summary_markdown(studies), encoding="utf-8")
    (HERE / "verdict_ceiling.inc").write_text(
        verdicts.ceiling_markdown(verdicts.repeated()), encoding="utf-8"
    )
    (HERE / "verdict_study.csv").write_text(verdicts.tidy(made.outcomes, made.scores), encoding="utf-8")
    verdict_wrong.write()
