"""The studies of Meterez et al. (ICLR 2024): each figure as data with errors, claims and a drawing."""

from firstlight.experiments.meterez2024.studies import gradients, isometry_gap, repeated, shaping, training
from firstlight.experiments.study import Study as Study

STUDIES: tuple[Study, ...] = (
    isometry_gap.STUDY,
    repeated.STUDY,
    gradients.STUDY,
    shaping.STUDY,
    *training.STUDIES,
)
