"""Wolinski and Arbel, "Gaussian Pre-Activations in Neural Networks: Myth or Reality?" (TMLR 2025), by our engines."""

from firstlight.experiments.wolinski2025.deep_distances import E2_NETS as E2_NETS
from firstlight.experiments.wolinski2025.deep_distances import E2_WIDTHS as E2_WIDTHS
from firstlight.experiments.wolinski2025.deep_distances import DeepKS as DeepKS
from firstlight.experiments.wolinski2025.deep_distances import deep_ks as deep_ks
from firstlight.experiments.wolinski2025.deep_distances import deep_ks_networks as deep_ks_networks
from firstlight.experiments.wolinski2025.deep_distances import draw_deep_ks as draw_deep_ks
from firstlight.experiments.wolinski2025.dependence import Dependence as Dependence
from firstlight.experiments.wolinski2025.dependence import unit_dependence as unit_dependence
from firstlight.experiments.wolinski2025.image_correlations import E1_LAYERS as E1_LAYERS
from firstlight.experiments.wolinski2025.image_correlations import Correlations as Correlations
from firstlight.experiments.wolinski2025.image_correlations import correlations as correlations
from firstlight.experiments.wolinski2025.image_correlations import draw_correlations as draw_correlations
from firstlight.experiments.wolinski2025.image_correlations import images as images
from firstlight.experiments.wolinski2025.networks import SCALES as SCALES
from firstlight.experiments.wolinski2025.networks import THETAS as THETAS
from firstlight.experiments.wolinski2025.networks import network as network
from firstlight.experiments.wolinski2025.one_layer import drawn as drawn
from firstlight.experiments.wolinski2025.one_layer import ks_normal as ks_normal
from firstlight.experiments.wolinski2025.one_layer import pair_ks as pair_ks
from firstlight.experiments.wolinski2025.one_layer import product_ks as product_ks
from firstlight.experiments.wolinski2025.two_layers import TwoLayer as TwoLayer
from firstlight.experiments.wolinski2025.two_layers import two_layer_ks as two_layer_ks
