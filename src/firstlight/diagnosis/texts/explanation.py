"""What a verdict says besides its numbers, and the sources that several verdicts share."""

from __future__ import annotations

from dataclasses import dataclass

POOLE = "Poole et al., Exponential Expressivity in Deep Neural Networks through Transient Chaos, NeurIPS 2016"
SCHOENHOLZ = "Schoenholz et al., Deep Information Propagation, ICLR 2017"
YANG = "Yang et al., A Mean Field Theory of Batch Normalization, ICLR 2019; Meterez et al., ICLR 2024"
BROCK = "De & Smith, NeurIPS 2020; Brock et al., ICLR 2021 (signal propagation plots)"
WOLINSKI = "Wolinski & Arbel, Gaussian Pre-Activations in Neural Networks: Myth or Reality?, TMLR 2025"
LECUN = "LeCun et al., Efficient BackProp, 1998"
MEASURED = "measured directly"
GRADIENT_WHY = (
    "one learning rate serves all layers, so a factor of 10 in ∂L/∂W relative to the weight is worth a warning, and "
    "plain gradient descent cannot compensate for a factor of 100. If ∂L/∂z grows by such a factor, small changes of "
    "the first layers move the output by that factor with every optimiser. Adaptive optimisers compensate for a "
    "∂L/∂z that falls, up to a factor of 10^4.5 (measured). The line is on the total over this depth, so a rate that "
    "is harmless at 10 layers counts at 500"
)
SIGNAL_WHY = (
    "three decades of q put layers of one network in different regimes of the activation; six leave the range "
    "where float16 keeps three digits"
)


@dataclass(frozen=True)
class Explanation:
    """What a verdict says besides its numbers."""

    title: str
    why: str
    cause: str
    remedy: str
    source: str = MEASURED
    unit: str = ""
