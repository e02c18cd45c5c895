"""Catalogue: what every verdict means, where its line comes from, and the way out; rules add the numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from firstlight.diagnosis.verdict import Severity, Verdict

POOLE = "Poole et al., Exponential Expressivity in Deep Neural Networks through Transient Chaos, NeurIPS 2016"
SCHOENHOLZ = "Schoenholz et al., Deep Information Propagation, ICLR 2017"
YANG = "Yang et al., A Mean Field Theory of Batch Normalization, ICLR 2019; Meterez et al., ICLR 2024"
BROCK = "De & Smith, NeurIPS 2020; Brock et al., ICLR 2021 (signal propagation plots)"
WOLINSKI = "Wolinski & Arbel, Gaussian Pre-Activations in Neural Networks: Myth or Reality?, TMLR 2025"
LECUN = "LeCun et al., Efficient BackProp, 1998"
MEASURED = "measured directly"
GRADIENT_WHY = (
    "one learning rate serves all layers: a factor of 10 between the gradient norms of the first and the "
    "last layer is worth a warning, a factor of 100 is not made up for; the line is on the total over this "
    "depth, so a rate that is harmless at 10 layers counts at 500"
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


EXPLANATIONS: dict[str, Explanation] = {
    "exploding-gradients": Explanation(
        "Exploding gradients",
        GRADIENT_WHY,
        "the layers' Jacobians multiply gradients by more than 1 on their way to the input",
        "scale the weights or the residual branches down (1/√depth for branches), or normalise at the head of "
        "each branch",
        SCHOENHOLZ,
        "decades of gradient norm from first to last layer",
    ),
    "vanishing-gradients": Explanation(
        "Vanishing gradients",
        GRADIENT_WHY,
        "the layers' Jacobians multiply gradients by less than 1 on their way to the input",
        "scale the weights up, add residual branches, or normalise",
        SCHOENHOLZ,
        "decades of gradient norm from first to last layer",
    ),
    "batch-norm-explosion": Explanation(
        "Batch norm makes gradients explode",
        GRADIENT_WHY,
        "batch norm divides by the standard deviation over the batch, which is smaller than the root mean "
        "square because the activation's mean is taken out; gradients are multiplied by what the signal was "
        "divided by, at every layer, whatever the weights' scale",
        "add residual branches around the blocks, or use fewer batch norms; to stay deep without them, use "
        "orthogonal weights and a near-linear activation (sin or tanh with gains that fall with depth) with a "
        "batch of at least the width: firstlight.builders.isometric_mlp builds it",
        YANG,
        "decades of gradient norm from first to last layer",
    ),
    "non-finite-gradients": Explanation(
        "Gradients that are not finite",
        "no optimiser step can use them",
        "an operation with an unbounded derivative (division, square root or log near zero), or overflow",
        "look at the last of the named layers first: the trouble starts there and flows to the input",
        unit="rows",
    ),
    "zero-gradients": Explanation(
        "Layers that no gradient reaches",
        "a weight with no gradient does not move on the first step",
        "a zero weight or scale between these layers and the loss, dead units, or a path that is cut",
        "intended for zero-initialised residual branches; otherwise initialise the layer above",
        unit="layers",
    ),
    "chaotic": Explanation(
        "Chaotic: similar inputs become unrelated",
        "above χ₁ = 1 two inputs part exponentially; once small differences have grown a hundredfold, nearby "
        "inputs look unrelated to the last layer, and gradients grow by the same factor",
        "the weights are too large for the activation: χ₁ = σ_w² E φ'(z)² is above 1",
        "lower σ_w, or raise σ_b, to the edge of chaos χ₁ = 1 of this activation",
        POOLE,
        "decades of squared distance over the depth",
    ),
    "ordered": Explanation(
        "Ordered: inputs collapse onto one direction",
        "what is left of the differences must stay above the noise of training; a tenfold loss is worth a "
        "warning, a hundredfold loss at an exponential rate means that the last layers see one input",
        "below χ₁ = 1, or with an activation whose mean is not zero (ReLU and its kin, where 1 − c falls as a "
        "power of depth even at χ₁ = 1), each layer pulls inputs together",
        "move to the edge of chaos, use an odd or centred activation, add residual branches, or normalise; "
        "very deep plain ReLU networks collapse whatever the weights' scale",
        SCHOENHOLZ,
        "decades of 1 − c lost over the depth",
    ),
    "rank-collapse": Explanation(
        "Rank collapse: the features of all samples span one direction",
        "below an effective rank of 1.5 a second direction holds less than a tenth of the energy, so a linear "
        "layer on top can hardly tell samples apart",
        "correlations that rise to 1, attention that averages tokens, or a bottleneck",
        "see the correlation column for where it starts; residual branches and normalisation keep the rank",
        "Daneshmand et al., Batch Normalization Provably Avoids Rank Collapse, NeurIPS 2020",
        "effective rank of the sample Gram matrix",
    ),
    "exploding-activations": Explanation(
        "Exploding activations",
        SIGNAL_WHY,
        "the variance map V(q)/q is above 1 at these q: the weights are too large for the activation",
        "choose σ_w, σ_b with a stable fixed point V(q) = q near 1 (He: σ_w = √2 for ReLU), or normalise",
        POOLE,
        "decades of q from first to last layer",
    ),
    "vanishing-activations": Explanation(
        "Vanishing activations",
        SIGNAL_WHY,
        "the variance map V(q)/q is below 1 at these q: the weights are too small for the activation",
        "choose σ_w, σ_b with a stable fixed point V(q) = q near 1 (He: σ_w = √2 for ReLU), or normalise",
        POOLE,
        "decades of q from first to last layer",
    ),
    "residual-growth": Explanation(
        "Residual branches that are not scaled",
        "branches as strong as their stream double it each time: 2^L; a branch whose share of the stream falls "
        "as 1/L keeps the total bounded",
        "the branch reads the un-normalised stream, so its size grows with it",
        "scale branches by 1/√L, normalise at the head of each branch, or start their last weight at zero",
        BROCK,
        "decades of q along the stream",
    ),
    "non-finite-activations": Explanation(
        "Activations that are not finite",
        "everything after a NaN is NaN; statistics of such rows leave these entries out",
        "overflow of the dtype, a division by zero, or the square root or log of a negative number",
        "look at what feeds the first of the named rows; in float16 try bfloat16, otherwise scale the layers "
        "before it down",
        unit="share of entries",
    ),
    "dead-units": Explanation(
        "Dead units",
        "with symmetric weights a ReLU unit is silent on half of the inputs, and rarely on all of them: over "
        "half silent on every sample means that the samples look alike, or that pre-activations sit below the "
        "kink",
        "inputs that collapse onto one direction, a negative mean of the pre-activations, or zero weights",
        "check the correlation column first; otherwise centre the pre-activations (zero biases, centred "
        "inputs), or use an activation with a slope on both sides",
        "Lu et al., Dying ReLU and Initialization, 2019",
        "share of units",
    ),
    "saturation": Explanation(
        "Saturated activations",
        "a saturated unit passes less than 1/400 of the squared gradient; with more than half of them "
        "saturated the rest must carry it",
        "pre-activations too large for the activation: weights or inputs on too large a scale",
        "scale the inputs to unit variance and the weights to the edge of chaos of this activation, or "
        "normalise before it",
        "Glorot & Bengio, AISTATS 2010",
        "share of entries",
    ),
    "mean-shift": Explanation(
        "Pre-activations with a shared mean",
        "weights and biases of mean zero give pre-activations of mean zero; a shared mean is one direction "
        "that all units repeat, and it wastes the activation's range",
        "weights or biases whose mean is not zero, meeting inputs whose mean is not zero",
        "centre the weights (or standardise them), centre the inputs, or normalise before the activation",
        LECUN,
        "share of q that is the squared mean",
    ),
    "not-gaussian": Explanation(
        "Pre-activations that are not Gaussian",
        "the line allows for the samples' correlation and for the estimated scale: truly Gaussian layers "
        "cross it at 5 %, so 1.5 times the line in a tenth of the layers is not chance",
        "heavy-tailed or trained weights, or a few inputs that dominate the fan-in; given its inputs, a layer of "
        "Gaussian weights is exactly Gaussian at any width, and what depth over width does shows only across networks",
        "theory that assumes Gaussian pre-activations is off by about this much here; widen the layers, or "
        "use a weight law and activation that keep them Gaussian",
        WOLINSKI,
        "KS distance after standardising each sample",
    ),
    "massive-activations": Explanation(
        "Massive activations",
        "single entries this large set the scale of quantisation and of low-precision sums",
        "an outlier in the inputs, a heavy-tailed weight law, or a channel that a trained network uses as a "
        "bias",
        "clip or normalise the inputs; keep these layers in higher precision",
        "Sun et al., Massive Activations in Large Language Models, COLM 2024",
        "largest entry over the robust deviation",
    ),
    "never-initialised": Explanation(
        "Parameters without data",
        "nothing can be computed from them",
        "the parameter is on the meta device or lazy: it has a shape (or not even that) and no values",
        "materialise it: model.to_empty(device=…) and an initialiser, or one forward for lazy modules",
        unit="rows",
    ),
    "non-finite-weights": Explanation(
        "Weights that are not finite",
        "every output of such a layer is NaN or infinite",
        "uninitialised memory, a failed load, or a training run that diverged",
        "initialise the layer again, or load a sound checkpoint",
        unit="rows",
    ),
    "cloned-units": Explanation(
        "Units with identical weights",
        "units with the same weights get the same gradient and stay the same for ever",
        "weights copied between units, or drawn with one random number per layer",
        "break the symmetry with random weights",
        unit="rows",
    ),
    "constant-weights": Explanation(
        "Constant weights",
        "units with the same weights get the same gradient and stay the same for ever",
        "all entries of a weight are equal",
        "break the symmetry with random weights",
        unit="rows",
    ),
    "zero-weights": Explanation(
        "Zero weights",
        "a zero weight passes nothing on, and no gradient to what is below it on the first step",
        "the weight is exactly zero",
        "intended for the last layer of a residual branch or of a head; anywhere else use random weights",
        unit="rows",
    ),
    "unused-parameters": Explanation(
        "Parameters that took no part",
        "they get no gradient, and distributed training waits for it",
        "a layer that is built but not called, or called only on other inputs or in the other mode",
        "remove them, or audit with a batch that uses them",
        unit="parameters",
    ),
    "input-scale": Explanation(
        "Inputs on an unusual scale",
        "every initialiser assumes inputs of order one: the first pre-activations have the inputs' scale, and "
        "saturate or vanish with it",
        "data that were not standardised (pixels in 0…255, physical units)",
        "subtract the mean and divide by the standard deviation of the training data, per feature or channel",
        LECUN,
        "root mean square of the input",
    ),
    "same-inputs": Explanation(
        "A batch of one sample, repeated",
        "what the network does to the differences between inputs cannot be seen on inputs that do not differ: "
        "correlation, rank and dead units say nothing here",
        "a constant batch, or one sample copied",
        "audit with a batch of real, different samples",
        unit="correlation between the samples",
    ),
    "not-judged": Explanation(
        "Not judged",
        "what was not seen may be sick: a verdict is about the measured rows, and below nine tenths of the used "
        "parameters, or without any gradient, the rows do not stand for the model",
        "steps of the forward pass that the audit cannot follow, or an output without a gradient",
        "see the list of what was called without a row; audit the inner model alone, without no_grad and with "
        "an output that is not detached, or accept a share: assert_healthy(min_coverage=…)",
        unit="share of the used parameters' entries that have a row",
    ),
    "healthy": Explanation("Healthy start", "", "", "", ""),
}


def verdict(code: str, severity: Severity, evidence: str, **numbers: Any) -> Verdict:
    """A verdict from the catalogue with its numbers; ``cause`` and ``remedy`` may be made more specific.

    Parameters
    ----------
    code
        Key of the catalogue.
    severity
        How grave it is here.
    evidence
        The sentence with the measurement.
    numbers
        ``measured``, ``uncertainty``, ``threshold``, ``layers``, and ``cause`` or ``remedy`` in place of the
        catalogue's.
    """
    text = EXPLANATIONS[code]
    fields: dict[str, Any] = {
        "unit": text.unit,
        "why": text.why,
        "cause": text.cause,
        "remedy": text.remedy,
        "source": text.source,
    }
    return Verdict(code, text.title, severity, evidence, **{**fields, **numbers})
