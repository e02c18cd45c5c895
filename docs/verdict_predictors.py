"""What can be learned of the outcome from the audit's numbers: ``python docs/verdict_predictors.py``.

Reads the tidy table of the study, fits predictors on the training half (ten folds, each architecture in one of them),
and writes a table of how well the held-back folds were told.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import QuantileTransformer

from firstlight.experiments.verdicts.analysis import area

HERE = Path(__file__).parent / "theory"
VERDICTS = {"healthy": 0.0, "warning": 1.0, "not judged": 2.0, "unhealthy": 3.0}
AUDIT = (
    *(
        "span of ∂L/∂z",
        "span of q",
        "|Σ ln χ₁|",
        "correlation at the end",
        "1 / effective rank",
        "span of ∂L/∂W",
    ),
    "first loss in guesses",
)
OTHERS = ("gradient ratio", "NASWOT", "SynFlow", "NTK condition", "AnyInit", "torch-audit")
SETS = {
    "the verdict": (),
    "the verdict, and numbers of the audit": AUDIT,
    "the verdict, and the tangent kernel's alignment": ("1 − NTK alignment",),
    "the verdict, numbers of the audit, the alignment": (*AUDIT, "1 − NTK alignment"),
    "all of these, and all rivals": (*AUDIT, "1 − NTK alignment", *OTHERS),
}


def number(row: dict[str, str], column: str) -> float:
    """A column of the tidy table as a number; NaN where there is none."""
    if column == "verdict":
        return VERDICTS[row["verdict"]]
    if column == "first loss in guesses":
        return float(np.log(float(row["first"]) / float(row["guess"])))
    return float(row[column] or "nan")


def told(
    rows: list[dict[str, str]], columns: tuple[str, ...], predictor: object
) -> tuple[float, float, float]:
    """Area under the ROC curve, false alarms and misses of a predictor on folds that it did not see."""
    x = np.array([[number(row, column) for column in ("verdict", *columns)] for row in rows])
    x[~np.isfinite(x)] = np.nan
    failed = np.array([row["failed"] == "True" for row in rows])
    chance = np.zeros(len(rows))
    for seen, held in GroupKFold(10).split(x, failed, [row["number"] for row in rows]):
        chance[held] = predictor.fit(x[seen], failed[seen]).predict_proba(x[held])[:, 1]
    flag = chance >= 0.5
    return area(chance, failed), float(flag[~failed].mean()), float((~flag)[failed].mean())


def predictors() -> dict[str, object]:
    """Logistic regression on ranks, and small boosted trees."""
    ranks = QuantileTransformer(n_quantiles=100, output_distribution="normal")
    return {
        "logistic": make_pipeline(SimpleImputer(), ranks, LogisticRegression(C=0.3, max_iter=3000)),
        "boosted trees": HistGradientBoostingClassifier(
            max_depth=3,
            learning_rate=0.06,
            max_iter=120,
            l2_regularization=1.0,
            min_samples_leaf=8,
            random_state=0,
        ),
    }


if __name__ == "__main__":
    with (HERE / "verdict_study.csv").open(encoding="utf-8", newline="") as file:
        every = [row for row in csv.DictReader(file) if row["part"] == "training" and row["failed"]]
    heads = ["reads", "predictor"]
    for spoken in ("SGD", "Adam"):
        heads += [f"{spoken}: area under ROC", "false alarms", "misses"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for name, columns in SETS.items():
        for kind, predictor in predictors().items():
            cells = [name, kind]
            for optimiser in ("sgd", "adam"):
                rows = [row for row in every if row["optimiser"] == optimiser]
                area_, false, miss = told(rows, columns, predictor)
                cells += [f"{area_:.3f}".removeprefix("0"), f"{100 * false:.0f} %", f"{100 * miss:.0f} %"]
            lines.append("| " + " | ".join(cells) + " |")
    (HERE / "verdict_predictors.inc").write_text("\n".join(lines) + "\n", encoding="utf-8")
