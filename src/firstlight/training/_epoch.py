"""What is measured after every epoch of a training run."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Epoch:
    """What was measured after one epoch; epoch 0 is the network as it was made.

    Attributes
    ----------
    epoch
        Number of epochs trained.
    loss
        Mean training loss over the epoch; NaN for epoch 0.
    train_accuracy, test_accuracy
        On statistics recalibrated on training data.
    test_accuracy_batch
        Each test batch normalised by itself.
    test_accuracy_running
        On running averages, if the model tracks them; else NaN.
    weight_gap, weight_gap_max, weight_gap_middle
        Isometry gap of the square weight matrices: mean, largest, and mean over the middle half of the layers.
    feature_gap
        Isometry gap of the features of the last batch norm, on the first samples: two batches of them, since
        centring takes a dimension of one. Infinite where the features are rank deficient.
    log_grad_first, log_grad_last
        Log norm of the gradient of the first and of the last square weight, on that batch.
    seconds
        Wall time of the epoch.
    """

    epoch: int
    loss: float = math.nan
    train_accuracy: float = math.nan
    test_accuracy: float = math.nan
    test_accuracy_batch: float = math.nan
    test_accuracy_running: float = math.nan
    weight_gap: float = math.nan
    weight_gap_max: float = math.nan
    weight_gap_middle: float = math.nan
    feature_gap: float = math.nan
    log_grad_first: float = math.nan
    log_grad_last: float = math.nan
    seconds: float = math.nan
