"""Batch normalisation at any depth: isometry gap, gradients, mean-field rates, gains, and checks of a batch."""

from __future__ import annotations

from firstlight.moved import old_names as _old_names
from firstlight.theory.batchnorm.batch import BatchCheck as BatchCheck
from firstlight.theory.batchnorm.batch import check_batch as check_batch
from firstlight.theory.batchnorm.gap import corollary_4 as corollary_4
from firstlight.theory.batchnorm.gap import gap_chain as gap_chain
from firstlight.theory.batchnorm.gap import gap_decay_rate as gap_decay_rate
from firstlight.theory.batchnorm.gap import gap_of_spectrum as gap_of_spectrum
from firstlight.theory.batchnorm.gap import gap_step as gap_step
from firstlight.theory.batchnorm.gap import gap_step_near_isometry as gap_step_near_isometry
from firstlight.theory.batchnorm.gap import isometry_gain as isometry_gain
from firstlight.theory.batchnorm.gap import lemma_2 as lemma_2
from firstlight.theory.batchnorm.gap import theorem_1 as theorem_1
from firstlight.theory.batchnorm.gap import theorem_3 as theorem_3
from firstlight.theory.batchnorm.gradients import conserved_parts as conserved_parts
from firstlight.theory.batchnorm.gradients import degenerate_slope as degenerate_slope
from firstlight.theory.batchnorm.gradients import gaussian_slope as gaussian_slope
from firstlight.theory.batchnorm.gradients import gradient_at_isometry as gradient_at_isometry
from firstlight.theory.batchnorm.gradients import theorem_5 as theorem_5
from firstlight.theory.batchnorm.mean_field import BatchMoments as BatchMoments
from firstlight.theory.batchnorm.mean_field import batch_moments as batch_moments
from firstlight.theory.batchnorm.mean_field import gradient_rate as gradient_rate
from firstlight.theory.batchnorm.mean_field import width_for_mean_field as width_for_mean_field
from firstlight.theory.batchnorm.prediction import BatchNormPrediction as BatchNormPrediction
from firstlight.theory.batchnorm.prediction import predict_batchnorm as predict_batchnorm
from firstlight.theory.batchnorm.shaping import GammaChoice as GammaChoice
from firstlight.theory.batchnorm.shaping import choose_gamma as choose_gamma
from firstlight.theory.batchnorm.shaping import shaped_growth as shaped_growth
from firstlight.theory.batchnorm.shaping import shaped_rates as shaped_rates
from firstlight.theory.batchnorm.weingarten import haar_moment as haar_moment
from firstlight.theory.batchnorm.weingarten import loop_type as loop_type
from firstlight.theory.batchnorm.weingarten import pairings as pairings
from firstlight.theory.batchnorm.weingarten import weingarten as weingarten

__getattr__ = _old_names("theory.batchnorm", predict="theory.batchnorm:predict_batchnorm")
