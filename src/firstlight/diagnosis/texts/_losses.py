"""What verdicts about the loss mean: what it compares, how low it can fall, and the size of its gradients."""

from __future__ import annotations

from firstlight.diagnosis.texts.explanation import Explanation

_FLOOR = (
    "a loss that cannot fall below half of what a constant output has learns less than half of all there is"
)

LOSSES: dict[str, Explanation] = {
    "squashed-logits": Explanation(
        "The loss squashes outputs that are squashed already",
        "the loss stops far above zero, although the network can still distinguish the classes; the gradient passes "
        "two functions with values between 0 and 1 and falls with the number of classes, so plain gradient descent "
        "needs a rate ten times as large for ten classes, and from 50 classes on no rate is large enough (measured)",
        "the model ends in a softmax or a sigmoid, and the loss applies its own: cross-entropy and binary "
        "cross-entropy with logits take plain scores",
        "end the model in its last linear layer, or use the loss that takes probabilities (log_softmax with "
        "nll_loss, binary_cross_entropy)",
        unit="lowest reachable loss over that of a guess",
    ),
    "unbounded-loss": Explanation(
        "A loss without a lower end",
        "the negative log-likelihood and the divergence take logarithms of probabilities; of plain scores they are "
        "sums of scores, and fall without end as the scores grow",
        "log_softmax is missing between the last layer and the loss",
        "end the model in log_softmax, or use cross-entropy on the scores",
        unit="loss",
    ),
    "softmax-over-samples": Explanation(
        "A softmax over the samples of the batch",
        "the outputs of one class sum to 1 over the batch, so that samples compete with each other and the prediction "
        "for one sample depends on the others",
        "softmax or log_softmax with dim=0, or without dim",
        "take the softmax over the classes, dim=-1 (dim=1 for maps)",
        unit="axis",
    ),
    "broadcast-loss": Explanation(
        "The loss compares every output with every target",
        "outputs of shape N×1 less targets of shape N broadcast to N×N differences: the best answer is the mean of "
        "the targets for every sample, and nothing else can be learnt",
        "the shapes of outputs and targets differ by an axis of length 1",
        "give both one shape: output.squeeze(-1), or targets.unsqueeze(-1)",
        unit="differences for each output",
    ),
    "unreachable-targets": Explanation(
        "Targets that the last activation cannot reach",
        _FLOOR,
        "the model ends in an activation whose values are bounded, and the targets lie beyond the bounds",
        "scale the targets into the range of the last activation, or end the model in a linear layer",
        unit="lowest reachable loss over that of a guess",
    ),
    "loss-scale": Explanation(
        "Gradients far from the range of optimisers",
        "a rate times the ratio of gradient and weight is the share of a weight that one step of plain gradient "
        "descent changes: rates that bring this share to .003 to .07 train best (measured); Adam divides by the size "
        "of a gradient after it adds 10⁻⁸, so a still smaller gradient moves nothing",
        "a loss that was multiplied by a very small or a very large number, summed over many entries, or averaged "
        "over many that hardly differ",
        "average the loss over samples and entries, and scale it to order one",
        "Kingma & Ba, Adam, ICLR 2015",
        "root mean square of the largest gradient",
    ),
    "output-scale": Explanation(
        "Outputs on a large scale",
        "outputs of a sound start are of order one; outputs of ten cost a softmax about 50 nats, and a squared error a "
        "hundred variances, before anything is learnt",
        "weights on too large a scale, somewhere on the way to the output",
        "look at the σ_w and q columns for where the scale comes in; scale these weights, or the last layer, down",
        "Karpathy, A Recipe for Training Neural Networks, 2019",
        "root mean square of the output",
    ),
}
