"""The training protocol of the depth experiments: SGD, honest evaluation, per-epoch measurement, resumable runs."""

from __future__ import annotations

from firstlight.training._epoch import Epoch as Epoch
from firstlight.training.checkpoint import load_checkpoint as load_checkpoint
from firstlight.training.checkpoint import save_checkpoint as save_checkpoint
from firstlight.training.evaluation import accuracy as accuracy
from firstlight.training.protocol import TrainingRun as TrainingRun
from firstlight.training.protocol import train as train
