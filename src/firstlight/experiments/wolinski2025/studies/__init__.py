"""The studies of Wolinski and Arbel (TMLR 2025): each figure as data with errors, claims and a drawing."""

from firstlight.experiments.study import Study as Study
from firstlight.experiments.wolinski2025.studies import (
    correlation_maps,
    deep_ks,
    deep_ks_images,
    edge_of_chaos,
    pair,
    training,
    two_layers,
    unified_view,
    variance_maps,
)

STUDIES: tuple[Study, ...] = (
    correlation_maps.STUDY,
    deep_ks.STUDY,
    deep_ks_images.STUDY,
    two_layers.STUDY,
    pair.STUDY,
    variance_maps.STUDY,
    edge_of_chaos.STUDY,
    unified_view.STUDY,
    training.STUDY,
    training.LENET,
)
