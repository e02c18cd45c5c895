"""Let the tests import the referee as the command does."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
