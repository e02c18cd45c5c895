"""Studies: every experiment of a paper is one function that gives a tidy table, judged claims and a page.

A study is a ``Study``: a name such as ``wolinski2025/correlations``, what it shows, its paper and figure, what it
needs and costs at each scale, a function ``measure(settings) -> Findings`` and a function ``draw(findings) -> Markup``.
To add one, write both functions in a module of the paper's room and list the ``Study`` in that room's ``STUDIES``::

    def measure(settings: Settings) -> Findings:
        nets = settings.sizes["nets"]
        rows = [{"width": width, "q": ..., "q_se": ...} for width in (10, 100)]
        claim = compared("q at width 100", ours=..., error=..., reference=1.0, paper="1 (Figure 2)", why="...")
        return Findings(tuple(rows), (claim,))

    def draw(findings: Findings) -> Markup:
        return grid(line_chart(lines(findings.rows, "width", "q", error="q_se"), title="Second moment"))

    sizes = {"nets": Size(200, 10_000)}
    STUDY = Study(name="author2025/moments", ..., measure=measure, draw=draw, sizes=sizes)
"""

from firstlight.experiments.claim import VERDICTS as VERDICTS
from firstlight.experiments.claim import Claim as Claim
from firstlight.experiments.claim import compared as compared
from firstlight.experiments.claim import decided as decided
from firstlight.experiments.drawing import lines as lines
from firstlight.experiments.findings import Findings as Findings
from firstlight.experiments.page import studies_page as studies_page
from firstlight.experiments.registry import find as find
from firstlight.experiments.registry import reproduce as reproduce
from firstlight.experiments.registry import studies as studies
from firstlight.experiments.registry import study_table as study_table
from firstlight.experiments.result import StudyResult as StudyResult
from firstlight.experiments.running import run as run
from firstlight.experiments.storage import read_result as read_result
from firstlight.experiments.storage import stored as stored
from firstlight.experiments.storage import stored_names as stored_names
from firstlight.experiments.study import SCALES as SCALES
from firstlight.experiments.study import Settings as Settings
from firstlight.experiments.study import Size as Size
from firstlight.experiments.study import Study as Study
