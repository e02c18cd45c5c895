"""The studies of Meterez et al. (ICLR 2024): each figure as data with errors, claims and a drawing."""

from firstlight.experiments.meterez2024.studies import training
from firstlight.experiments.study import Study as Study

STUDIES: tuple[Study, ...] = (*training.STUDIES,)
