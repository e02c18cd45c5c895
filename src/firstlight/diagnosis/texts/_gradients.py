"""What verdicts about gradients mean."""

from __future__ import annotations

from firstlight.diagnosis.texts.explanation import GRADIENT_WHY, SCHOENHOLZ, YANG, Explanation

GRADIENTS: dict[str, Explanation] = {
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
        "no optimiser step can use them; a loss that is finite does not exclude them",
        "an operation with an unbounded derivative (division, square root, norm or log at zero), or overflow",
        "look at the last of the named layers first: the trouble starts there and flows to the input",
        unit="parameters and rows",
    ),
}
