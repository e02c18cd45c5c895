"""Printing an audit leaves Python's random generator as it was."""

import subprocess
import sys

# in a process of its own: the run-time type checks of the test suite draw from the same generator
SCRIPT = """
import io, os, random, sys
from firstlight.auditing import AuditResult, audit_plain, print_audit
from firstlight.ensemble.runs import progress
from firstlight.probe import Measurement
from firstlight.profile import Profile

class Terminal(io.StringIO):
    def isatty(self):
        return True

rows = Profile.from_rows([{"name": "fc", "kind": "weight", "q": 1.5}], source="audit")
result = AuditResult(Measurement(rows))
os.environ["TERM"] = "xterm"
errors, sys.stderr = sys.stderr, Terminal()
before = random.getstate()
audit_plain(result)
print_audit(result, file=Terminal())
with progress.progress_bar(10, show=True) as bar:
    for _ in range(10):
        bar.advance(1)
assert random.getstate() == before
assert "10/10" in sys.stderr.getvalue()
print("left alone")
"""


def test_printing_does_not_draw_from_the_callers_generator():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.stdout == "left alone\n", done.stderr
