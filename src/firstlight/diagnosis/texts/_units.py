"""What verdicts about units and their law mean."""

from __future__ import annotations

from firstlight.diagnosis.texts.explanation import LECUN, WOLINSKI, Explanation

UNITS: dict[str, Explanation] = {
    "dead-units": Explanation(
        "Dead units",
        "with symmetric weights a ReLU unit is silent on half of the inputs, and rarely on all of them: if more than "
        "half of the units are silent on every sample, the samples look alike or the pre-activations lie below the "
        "kink",
        "inputs that collapse onto one direction, a negative mean of the pre-activations, or zero weights",
        "check the correlation column first; otherwise centre the pre-activations (zero biases, centred "
        "inputs), or use an activation with a slope on both sides",
        "Lu et al., Dying ReLU and Initialization, 2019",
        "share of units",
    ),
    "saturation": Explanation(
        "Saturated activations",
        "a saturated unit passes less than 1/400 of the squared gradient; if more than half of the units are "
        "saturated, the others must carry the gradient",
        "pre-activations too large for the activation: weights or inputs on too large a scale",
        "scale the inputs to unit variance and the weights to the edge of chaos of this activation, or "
        "normalise before it",
        "Glorot & Bengio, AISTATS 2010",
        "share of entries",
    ),
    "heavy-dropout": Explanation(
        "Dropout that drowns the signal",
        "a layer behind dropout keeps the share 1 − p of its second moment as signal, the rest is noise that is drawn "
        "anew at every step; layers multiply these shares, and a readout averages the noise over its inputs only",
        "a p that was meant as the share to keep, or much dropout in narrow layers, one behind another",
        "lower p: torch drops the share p, and common values are .1 to .5",
        "Srivastava et al., JMLR 2014; Schoenholz et al., ICLR 2017 (dropout bounds the depth that trains)",
        "entries of a sample's signal that are left",
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
        "Gaussian weights is exactly Gaussian at any width, and the effect of depth over width is visible only "
        "across networks",
        "theory that assumes Gaussian pre-activations is wrong by about this much here; widen the layers, or use a "
        "weight law and an activation that keep the pre-activations Gaussian",
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
        "largest entry over the robust size",
    ),
}
