"""Catalogue: each remedy with the verdicts it is for, what it changes, and who found it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from firstlight.diagnosis import EXPLANATIONS
from firstlight.errors import DomainError
from firstlight.fixing.remedies.branches import scaled_branches
from firstlight.fixing.remedies.gentle import (
    drawn_tables,
    in_line,
    small_readout,
    unit_gains,
    unlike_copies,
    without_shift,
)
from firstlight.fixing.remedies.inputs import standardised_inputs
from firstlight.fixing.remedies.linear_start import looks_linear, small_signals
from firstlight.fixing.remedies.measured import Forward, layer_sequential
from firstlight.fixing.remedies.recurrent import remember
from firstlight.fixing.remedies.scales import centred, critical, measured_slope, orthogonal, redraw
from firstlight.fixing.remedies.sites import sites
from firstlight.profile import Profile

FAULTS = frozenset({"non-finite-weights", "cloned-units", "constant-weights", "zero-weights", "two-zeros"})
# what the model's user changes, not its weights: inputs, code, coverage
OUTSIDE = frozenset(
    {
        "broadcast-loss",
        "constant-loss",
        "cut-gradients",
        "drowned-tokens",
        "frozen-model",
        "healthy",
        "heavy-dropout",
        "loss-scale",
        "linear-network",
        "mixed-samples",
        "never-initialised",
        "not-judged",
        "one-entry-norm",
        "one-unit-softmax",
        "same-inputs",
        "softmax-over-samples",
        "shared-layers",
        "softmax-axis",
        "squashed-logits",
        "step-function",
        "target-scale",
        "unbounded-loss",
        "unreachable-targets",
        "unregistered-parameters",
        "unused-parameters",
    }
)
# what only `standardised-inputs` changes
RAW = frozenset({"input-scale"})
SIGNALS = frozenset(EXPLANATIONS) - FAULTS - OUTSIDE - RAW

Apply = Callable[[nn.Module, Profile, torch.Generator, Forward], list[str]]


@dataclass(frozen=True)
class Remedy:
    """A change to a model at its initialisation.

    Attributes
    ----------
    name
        Stable name.
    summary
        What it does, in a sentence.
    codes
        Verdicts it may help against.
    apply
        Changes a model in place, given its profile, a generator and a way to run it; says what it changed, one line a
        change, and nothing where there is nothing to change.
    source
        The paper behind it.
    structural
        Whether it replaces modules; the others write parameters alone, so that the state dict carries them.
    suits
        The optimisers that the new start suits.
    local
        Whether it writes only what is out of line; such a remedy ends a round if it leaves nothing unhealthy.
    """

    name: str
    summary: str
    codes: frozenset[str]
    apply: Apply
    source: str
    structural: bool = False
    suits: str = "SGD and Adam"
    local: bool = False


def _isometric(model: nn.Module, profile: Profile, generator: torch.Generator, forward: Forward) -> list[str]:
    from firstlight.fixing.remedies.isometric import make_isometric_

    if sites(model, profile).trained:
        return []
    try:
        return make_isometric_(model, generator=generator)
    except DomainError:
        return []


# the gentlest first: what writes few weights, then what keeps their directions, then what draws them again
REMEDIES: tuple[Remedy, ...] = (
    Remedy(
        "draw-again",
        "draw constant, cloned, zero and non-finite weights again, Gaussian on the edge of chaos",
        FAULTS,
        lambda m, p, g, _: redraw(m, p, g),
        "Glorot & Bengio, AISTATS 2010; He et al., ICCV 2015",
        local=True,
    ),
    Remedy(
        "drawn-embeddings",
        "draw embeddings of zeros that wait for another factor, and bring far too small or large ones to size 1",
        FAULTS | {"zero-gradients", "embedding-scale", "first-loss", "dead-units"},
        lambda m, p, g, _: drawn_tables(m, p, g),
        "Glorot & Bengio, AISTATS 2010",
        local=True,
    ),
    Remedy(
        "unlike-copies",
        "give every copy of a layer but the first one the same entries in a random order",
        frozenset({"copied-layers"}),
        lambda m, p, g, _: unlike_copies(m, p, g),
        "Lakshminarayanan, Pritzel & Blundell, NeurIPS 2017",
        local=True,
    ),
    Remedy(
        "zero-biases",
        "zero the biases that shift all pre-activations of a layer by their own size or more",
        SIGNALS | FAULTS,
        lambda m, p, g, _: without_shift(m, p, g),
        "LeCun et al., Efficient BackProp, 1998",
        local=True,
    ),
    Remedy(
        "unit-gains",
        "give normalisers whose gains are zero, or ten times off one, gains of one",
        SIGNALS,
        lambda m, p, g, _: unit_gains(m, p, g),
        "Ioffe & Szegedy, ICML 2015",
        local=True,
    ),
    Remedy(
        "small-readout",
        "bring outputs that are ten times too large to size one by the last weight alone",
        frozenset({"first-loss", "logit-scale", "output-scale"}),
        lambda m, p, g, _: small_readout(m, p, g),
        "Zhang, Dauphin & Ma, ICLR 2019",
    ),
    Remedy(
        "in-line",
        "bring the weights whose scale is 3 times off the others' to the scale of the others",
        SIGNALS,
        lambda m, p, g, _: in_line(m, p, g),
        "Glorot & Bengio, AISTATS 2010",
        local=True,
    ),
    Remedy(
        "scaled-branches",
        "multiply the end of each of L residual branches by 1/√L",
        SIGNALS,
        lambda m, p, g, _: scaled_branches(m, p, g),
        "Zhang, Dauphin & Ma, ICLR 2019; Hayou et al., AISTATS 2021",
    ),
    Remedy(
        "orthogonal-memory",
        "give recurrent layers orthogonal steps through time, and LSTM forget gates that begin open",
        SIGNALS | FAULTS,
        lambda m, p, g, _: remember(m, p, g),
        "Saxe et al., ICLR 2014; Le, Jaitly & Hinton, 2015; Jozefowicz et al., ICML 2015",
    ),
    Remedy(
        "edge-of-chaos",
        "scale weights and biases to the edge of chaos of the activation each weight reads",
        SIGNALS | FAULTS,
        lambda m, p, g, _: critical(m, p, g),
        "Schoenholz et al., ICLR 2017; Hayou, Doucet & Rousseau, ICML 2019",
    ),
    Remedy(
        "centred",
        "take the mean out of every unit's weights, and biases to zero",
        frozenset({"mean-shift", "dead-units", "saturation", "ordered", "rank-collapse"}),
        lambda m, p, g, _: centred(m, p, g),
        "Qiao et al., Weight Standardization, 2019",
    ),
    Remedy(
        "measured-slope",
        "divide weights by √χ₁ as it was measured on the batch",
        SIGNALS,
        lambda m, p, g, _: measured_slope(m, p, g),
        "Poole et al., NeurIPS 2016",
    ),
    Remedy(
        "layer-sequential",
        "bring every layer's second moment to 1 on the batch",
        SIGNALS,
        layer_sequential,
        "Mishkin & Matas, ICLR 2016",
    ),
    Remedy(
        "orthogonal",
        "draw Haar-orthogonal weights (delta-orthogonal kernels) at the scale of the edge of chaos",
        SIGNALS | FAULTS,
        lambda m, p, g, _: orthogonal(m, p, g),
        "Saxe et al., ICLR 2014; Pennington et al., NeurIPS 2017; Xiao et al., ICML 2018",
    ),
    Remedy(
        "looks-linear",
        "mirror the units of a plain network of ReLU, GELU, SiLU or the like, so that it starts as a linear isometry",
        SIGNALS | FAULTS,
        lambda m, p, g, _: looks_linear(m, p, g),
        "Balduzzi et al., ICML 2017",
    ),
    Remedy(
        "small-signals",
        "keep the signals of a plain network of smooth activations so small that it starts nearly linear",
        SIGNALS | FAULTS,
        lambda m, p, g, _: small_signals(m, p, g),
        "Martens et al., 2021; Li, Nica & Roy, NeurIPS 2022",
        suits="Adam; SGD at a smaller rate",
    ),
    Remedy(
        "standardised-inputs",
        "put fixed numbers in front of the first layers that standardise the data",
        RAW,
        # measured on the bytes of digits, a small convolutional network and SGD: .27 as it came at its best rate .001,
        # fixed .12 at .2 and 2.3 at .001
        standardised_inputs,
        "LeCun et al., Efficient BackProp, 1998",
        structural=True,
        suits="Adam; SGD at a larger rate",
    ),
    Remedy(
        "isometric-batch-norm",
        "orthogonal weights, and gains that fall with depth on smooth activations, which stand in for kinked ones",
        frozenset({"batch-norm-explosion"}),
        _isometric,
        "Meterez et al., ICLR 2024",
        structural=True,
    ),
)
