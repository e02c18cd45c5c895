"""The training protocols of two papers: SGD for deep batch norm, Adam with early stop for pairs; every run resumes."""

from __future__ import annotations

from firstlight.training._epoch import Epoch as Epoch
from firstlight.training.checkpoint import load_checkpoint as load_checkpoint
from firstlight.training.checkpoint import save_checkpoint as save_checkpoint
from firstlight.training.evaluation import accuracy as accuracy
from firstlight.training.protocol import TrainingRun as TrainingRun
from firstlight.training.protocol import train as train
from firstlight.training.seeds.images import Images as Images
from firstlight.training.seeds.images import load_images as load_images
from firstlight.training.seeds.page import training_page as training_page
from firstlight.training.seeds.page import training_text as training_text
from firstlight.training.seeds.plan import EDGE_SCALES as EDGE_SCALES
from firstlight.training.seeds.plan import TrainingPlan as TrainingPlan
from firstlight.training.seeds.result import SeedEpoch as SeedEpoch
from firstlight.training.seeds.result import SeedRun as SeedRun
from firstlight.training.seeds.result import TrainingResult as TrainingResult
from firstlight.training.seeds.rules import PROTOCOLS as PROTOCOLS
from firstlight.training.seeds.rules import TrainingRules as TrainingRules
from firstlight.training.seeds.train import train_seeds as train_seeds
