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
    "depth-over-width": Explanation(
        "Too deep for its width: chance stretches directions unequally",
        "a product of L independent random matrices of width n stretches some directions and shrinks others, and ln of "
        "the gradient norm walks by a variance of order L/n; the line is a factor of two (one standard deviation). "
        "A normaliser of each sample hides the walk from every mean: chains of twenty layers or more with such a "
        "normaliser fail beyond the line (measured: all by Adam, ten of twelve by gradient descent); without a "
        "normaliser the verdict is a warning",
        "independent weights in a chain that is deep for its width, with no skips",
        "draw orthogonal weights, which stretch no direction; add residual branches; or take fewer or wider layers",
        "Hanin & Nica, Products of Many Large Random Matrices and Gradients in Deep Neural Networks, CMP 2020; "
        "Pennington, Schoenholz & Ganguli, NeurIPS 2017",
        "standard deviation of ln of the gradient norm over the depth",
    ),
    "starved-path": Explanation(
        "A path that hardly takes part",
        "a factor on a path scales what the path gives and the gradients that it gets. Measured on four networks that "
        "need both of two paths: with .1 all of them learn both; plain gradient descent learns the second path late or "
        "not at all with .01, and never with .001; Adam in three of four with .01, in two with .001, in one with 10⁻⁶",
        "a small constant factor on one of the paths that meet in a sum, a product or a concatenation",
        "leave the constant out, or make it a parameter, which grows by itself; normalise each path before they meet",
        unit="decades of ∂L/∂W beside the weight, between the paths",
    ),
    "non-finite-gradients": Explanation(
        "Gradients that are not finite",
        "no optimiser step can use them; a loss that is finite does not exclude them",
        "an operation with an unbounded derivative (division, square root, norm or log at zero), or overflow",
        "look at the last of the named layers first: the trouble starts there and flows to the input",
        unit="parameters and rows",
    ),
}
