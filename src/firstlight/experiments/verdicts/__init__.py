"""Do verdicts predict training? Networks drawn at random, trained, audited at their start, and compared."""

from firstlight.experiments.verdicts.outcomes import Outcome as Outcome
from firstlight.experiments.verdicts.outcomes import read as read
from firstlight.experiments.verdicts.outcomes import run as run
from firstlight.experiments.verdicts.outcomes import train as train
from firstlight.experiments.verdicts.starts import Architecture as Architecture
from firstlight.experiments.verdicts.starts import Start as Start
from firstlight.experiments.verdicts.starts import architecture as architecture
from firstlight.experiments.verdicts.starts import build as build
from firstlight.experiments.verdicts.starts import starts as starts
from firstlight.experiments.verdicts.tasks import Tasks as Tasks
