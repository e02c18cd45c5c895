"""What verdicts about parameters, inputs and targets mean."""

from __future__ import annotations

from firstlight.diagnosis.texts.explanation import LECUN, Explanation

STRUCTURE: dict[str, Explanation] = {
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
        "units with the same weights get the same gradient and always stay the same",
        "weights copied between units on both sides, or drawn with one random number per layer",
        "break the symmetry with random weights",
        unit="rows",
    ),
    "constant-weights": Explanation(
        "Constant weights",
        "units with the same weights get the same gradient and always stay the same",
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
    "copied-layers": Explanation(
        "Layers that start as copies of one another",
        "copies get different inputs and gradients, so training makes them different; until then the depth applies "
        "one map again and again, every layer stretches the same directions, and the draws do not average out",
        "one layer that was copied to make a stack, as nn.TransformerEncoder does with the layer it is given",
        "draw every layer's weights again after the stack is built; ignore this for target networks, which are "
        "copies by design",
        unit="parameters",
    ),
    "shared-layers": Explanation(
        "One layer in several places",
        "a layer that reads its own output applies one map again and again: the layer has the parameters of one "
        "layer, gets the sum of the gradients of all its places, and stretches the same directions at every call",
        "a list that was multiplied ([layer] * n), or a layer that is meant to be shared over the depth",
        "build each layer anew: [make_layer() for _ in range(n)]; ignore this where layers share weights by design",
        unit="layers",
    ),
    "mixed-samples": Explanation(
        "Samples are mixed",
        "view and reshape keep the order of the numbers: a shape with the axes in another order puts numbers of "
        "other samples into each sample, and a layer that expects time first reads samples as steps; the prediction "
        "for one sample then depends on its neighbours in the batch",
        "view or reshape where axes were meant to be exchanged, axes that were exchanged and not put back, or a "
        "recurrent or attention layer without batch_first=True",
        "exchange axes with transpose or permute, and bring the samples to the front before reshape(len(x), -1)",
        unit="places",
    ),
    "linear-network": Explanation(
        "Layers without an activation between them",
        "the product of matrices is a matrix: depth adds nothing to what can be learnt",
        "an activation was left out, or the network is linear by design",
        "put an activation behind every hidden layer; ignore this for networks that are meant to be linear",
        unit="layers",
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
        "saturate or vanish with it; a mean of many deviations makes one direction of the loss far steeper than others "
        "(measured: gradient descent ends at half of a guess's loss with 5 deviations, next to it with 10)",
        "data that were not standardised (pixels in 0…255, physical units, dates)",
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
        "a part that was not seen may have a fault: a verdict is about the measured rows, and below nine tenths of "
        "the used parameters, or without any gradient, the rows do not represent the model",
        "steps of the forward pass that the audit cannot follow, or an output without a gradient",
        "see the list of what was called without a row; audit the inner model alone, without no_grad and with "
        "an output that is not detached, or accept a share: assert_healthy(min_coverage=…)",
        unit="share of the used parameters' entries that have a row",
    ),
}
