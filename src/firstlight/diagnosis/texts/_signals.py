"""What verdicts about signals mean."""

from __future__ import annotations

from firstlight.diagnosis.texts.explanation import BROCK, POOLE, SCHOENHOLZ, SIGNAL_WHY, Explanation

SIGNALS: dict[str, Explanation] = {
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
        "the differences that are left must stay above the noise of training; a tenfold loss is worth a warning, and "
        "a hundredfold loss at an exponential rate, down to 1 − c < .001, means that the last layers see one input "
        "(measured: below that line nine of ten starts fail with plain gradient descent, and half of the starts up "
        "to .01 fail). An adaptive optimiser still finds differences that float32 can hold, so its own line is 1 − c "
        "< 3·10⁻⁶ (measured). A chain of twenty layers or more with a normaliser of each sample and no skips fails "
        "with every optimiser, and its line is 1 − c < .007 (measured). The first step of an adaptive optimiser "
        "opens a layer of zeros; in front of a batch norm, which divides the gradient by √ε, the first step of every "
        "optimiser does",
        "below χ₁ = 1, or with an activation whose mean is not zero (ReLU and similar functions, where 1 − c falls "
        "as a power of depth even at χ₁ = 1), each layer pulls inputs together",
        "move to the edge of chaos, use an odd or centred activation, add residual branches, or normalise; "
        "very deep plain ReLU networks collapse whatever the weights' scale",
        SCHOENHOLZ,
        "decades of 1 − c lost over the depth",
    ),
    "rank-collapse": Explanation(
        "Rank collapse: the features of the samples lie near one direction",
        "below an effective rank of 1.5 a second direction holds less than a tenth of the energy, so a linear layer "
        "on top can hardly distinguish the samples",
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
}
