"""Diagnosis: verdicts with evidence, thresholds, causes, remedies and sources."""

from firstlight.diagnosis.catalogue import EXPLANATIONS as EXPLANATIONS
from firstlight.diagnosis.catalogue import Explanation as Explanation
from firstlight.diagnosis.diagnose import diagnose as diagnose
from firstlight.diagnosis.findings import Findings as Findings
from firstlight.diagnosis.lines import LINES as LINES
from firstlight.diagnosis.lines import Lines as Lines
from firstlight.diagnosis.lines import lines_of as lines_of
from firstlight.diagnosis.rules._seen import COVERED as COVERED
from firstlight.diagnosis.rules._seen import not_judged as not_judged
from firstlight.diagnosis.trend import Trend as Trend
from firstlight.diagnosis.trend import fit as fit
from firstlight.diagnosis.verdict import Severity as Severity
from firstlight.diagnosis.verdict import Verdict as Verdict
