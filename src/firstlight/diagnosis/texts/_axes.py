"""What verdicts along time, among tokens and in channels mean, and those about absolute sizes."""

from __future__ import annotations

from firstlight.diagnosis.texts.explanation import BROCK, LECUN, Explanation

AXES: dict[str, Explanation] = {
    "vanishing-through-time": Explanation(
        "The recurrence forgets: gradients vanish through time",
        "a step whose part in the gradient is below 2⁻²³ of the last step's is lost in float32's rounding of the sum, "
        "so nothing can be learnt from it; a factor of 1000 is worth a warning",
        "the recurrent Jacobian shrinks differences: recurrent weights below the edge of chaos, or gates that are "
        "half open (an LSTM's forget bias of 0 halves its cell at every step)",
        "start the forget bias at 1 or higher (log of the time scale that matters), the recurrent weights orthogonal "
        "and at the edge of chaos; shorten the sequence, or add skips through time or attention",
        "Bengio, Simard & Frasconi, 1994; Jozefowicz et al., ICML 2015; Chen, Pennington & Schoenholz, ICML 2018",
        "decades of gradient norm over the sequence",
    ),
    "exploding-through-time": Explanation(
        "The recurrence is unstable: gradients explode through time",
        "a change of an early step moves the last output by this factor: beyond a factor of 100 one learning rate "
        "cannot serve early and late steps",
        "the recurrent Jacobian stretches differences: recurrent weights too large for the activation",
        "scale the recurrent weights to the edge of chaos (orthogonal, or the identity for ReLU); clipping the "
        "gradient hides the size and not the chaos",
        "Pascanu, Mikolov & Bengio, ICML 2013",
        "decades of gradient norm over the sequence",
    ),
    "token-collapse": Explanation(
        "Token collapse: the tokens of a sample become one",
        "a tenfold loss of what tells tokens apart is worth a warning; a hundredfold loss means that the last layers "
        "see one token. A network with a residual stream whose readout takes all tokens together, by a mean or a first "
        "token, is only warned: three of three such starts train with Adam, two of three by gradient descent "
        "(measured). Where no skip goes around the attention, that holds for fewer than eight attention layers, or "
        "twelve with Adam",
        "attention averages, and nothing restores the differences: there is no skip around the attention, or the "
        "skip is too weak",
        "keep the skip around every attention, scale it up or the branch down, or start attention at the identity",
        "Dong, Cordonnier & Loukas, ICML 2021; Noci et al., NeurIPS 2022",
        "decades of 1 − c lost between tokens",
    ),
    "drowned-tokens": Explanation(
        "Positions that drown the tokens they are added to",
        "a normaliser divides the sum by its size, so the next layers hardly see what tells samples apart, and the "
        "gradient of the tokens shrinks by the same factor",
        "positions (or another constant) on a far larger scale than the tokens",
        "draw positions on the tokens' scale or below, such as with deviation .02 beside tokens of order one",
        unit="what is added over the tokens, root mean squares",
    ),
    "one-hot-attention": Explanation(
        "Attention that picks one key from the start",
        "a softmax whose largest weight is above nine tenths passes less than a tenth of the gradient on to the "
        "logits, and what was picked was picked at random",
        "logits too large: no division by √d, or query and key weights on too large a scale",
        "divide by √d, draw query and key weights with variance 1/fan-in, or normalise queries and keys",
        "Vaswani et al., NeurIPS 2017; Zhai et al., ICML 2023 (entropy collapse)",
        "largest weight of a query, mean over queries",
    ),
    "softmax-axis": Explanation(
        "A softmax over another axis than its weights are summed over",
        "weights of a mean are positive and sum to one over what is averaged; over another axis they sum to one across "
        "samples, heads or queries, and the sum has no fixed size",
        "softmax with the wrong dim",
        "take the softmax over the axis that the product sums over: dim=-1 for weights (queries × keys) @ values",
        unit="axis",
    ),
    "channel-means": Explanation(
        "The means of the channels outgrow their deviations",
        "with a normaliser the squared mean stays below the variance; without one, means that grow along the stream "
        "say that every sample looks the same to the later blocks",
        "activations with a mean (ReLU) meet weights that are not centred, and nothing takes the mean out of "
        "the stream",
        "scaled weight standardisation, a normaliser in each branch, or centred activations",
        BROCK,
        "squared mean over squared mean and variance",
    ),
    "first-loss": Explanation(
        "The first loss is far above that of a guess",
        "a sound start has learnt nothing yet, so its loss is near ln C for C classes and near the targets' variance "
        "for a regression; a loss ten times as large means that the outputs are confident without a reason, and the "
        "first steps only undo that",
        "a last layer on too large a scale",
        "scale the last layer down, or start it at zero",
        "Karpathy, A Recipe for Training Neural Networks, 2019",
        "first loss over the loss of the best constant output",
    ),
    "target-scale": Explanation(
        "Targets on an unusual scale",
        "outputs of a sound start are of order one; the output must first grow to the targets' size, which an adaptive "
        "optimiser does one learning rate a step",
        "targets that were not standardised",
        "subtract the targets' mean and divide by their deviation, or start the last bias at the mean",
        LECUN,
        "root mean square of the targets",
    ),
    "logit-scale": Explanation(
        "Logits on a large scale",
        "a softmax over logits of deviation s costs about s²/2 nats and passes its gradient through few classes",
        "a last layer on too large a scale",
        "scale the last layer down, or start it at zero",
        "Karpathy, A Recipe for Training Neural Networks, 2019",
        "deviation over the classes of a sample",
    ),
    "embedding-scale": Explanation(
        "Embeddings on an unusual scale",
        "a layer that reads embeddings assumes inputs of order one, as every layer does",
        "an embedding drawn with a very small or large deviation, or multiplied by √d on top of a deviation of 1",
        "draw with deviation 1 (or 1/√d with a factor √d), or normalise behind the embedding",
        "Vaswani et al., NeurIPS 2017",
        "root mean square of the entries",
    ),
    "number-range": Explanation(
        "Beyond the range of float16",
        "float16 ends at 65504 and begins at 2⁻²⁴, float8 (E4M3) at 448 and 2⁻⁹; bfloat16 has the range of float32 and "
        "three digits less; a model in such a format loses what lies beyond its range, and a tenth of the gradients "
        "is too much to lose",
        "signals or gradients whose size leaves the range",
        "train in bfloat16, scale the loss, or bring the signals to order one",
        "Micikevicius et al., Mixed Precision Training, ICLR 2018",
        "rows",
    ),
}
