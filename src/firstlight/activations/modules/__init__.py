"""Activations as torch modules: with parameters that are trained, with statistics of their layer, with a basis."""

from firstlight.activations.modules.ash import AdaptiveSwish as AdaptiveSwish
from firstlight.activations.modules.kan import KANLayer as KANLayer
from firstlight.activations.modules.step import StepActivation as StepActivation
from firstlight.activations.modules.top_k import TopK as TopK
from firstlight.activations.modules.top_k import TopKMoments as TopKMoments
from firstlight.activations.modules.top_k import top_k_moments as top_k_moments
