"""What verdicts about the gradient of every parameter mean."""

from __future__ import annotations

from firstlight.diagnosis.texts.explanation import Explanation

_NEVER = "a parameter whose gradient is zero on every step never moves; the line is exact, so one is enough"

PARAMETERS: dict[str, Explanation] = {
    "zero-gradients": Explanation(
        "Parameters that no gradient reaches",
        "a parameter with a gradient of exactly zero does not move on the first step; a zero factor that moves "
        "itself opens the way on the second",
        "dead units, a constant factor of zero, or a function without a slope between these parameters and the "
        "loss; or, as a note, a zero factor that is meant: the last layer of a residual branch, a gate, LoRA's B",
        "nothing to do where it is a note; otherwise find the step that the evidence names and give it a slope",
        unit="parameters",
    ),
    "cut-gradients": Explanation(
        "Parameters that are cut off from the loss",
        "these parameters take part in the forward pass and their result reaches the loss, but the backward pass "
        "never reaches them: no optimiser can move them",
        "detach(), .data, torch.no_grad(), a conversion to numbers or integers, or a tensor that is built anew",
        "remove the cut; if the layers are meant to be frozen, mark them with requires_grad_(False)",
        unit="parameters",
    ),
    "unregistered-parameters": Explanation(
        "Weights that the model does not register",
        "an optimiser moves what model.parameters() lists; a weight that is not listed there keeps its first values, "
        "is not saved by state_dict() and is not moved by to(device)",
        "layers in a plain list or dict, a weight that is a plain tensor, or a layer that is built in every forward",
        "keep layers in nn.ModuleList or nn.ModuleDict, weights in nn.Parameter or nn.ParameterList, and build them in "
        "__init__",
        unit="tensors",
    ),
    "step-function": Explanation(
        "A step function lets no gradient through",
        _NEVER,
        "sign, round, floor, a drawn zero or one (bernoulli) and similar steps have a slope of zero everywhere",
        "use a straight-through estimator (x + (sign(x) - x).detach()) or a smooth function with the same shape",
        "Bengio, Léonard & Courville, Estimating or Propagating Gradients Through Stochastic Neurons, 2013",
        unit="parameters",
    ),
    "one-unit-softmax": Explanation(
        "A softmax over one unit is constant",
        _NEVER,
        "softmax over an axis of length 1 gives 1 for every input (cross-entropy with one class gives 0)",
        "for one output use a sigmoid with binary cross-entropy, or two outputs; check the axis of the softmax",
        unit="parameters",
    ),
    "one-entry-norm": Explanation(
        "A normaliser of one or two entries forgets its input",
        "one entry less its own mean is zero, and two entries over their deviation are ±1: nothing of the input "
        "but its sign comes through, and no gradient",
        "a normaliser over an axis of length 1 or 2, or one group for each channel of a map of one place",
        "normalise over the units, or leave this normaliser out",
        unit="entries left of a group",
    ),
    "two-zeros": Explanation(
        "Two zero factors in a row",
        "the gradient of each factor of a product is a multiple of the other factor: where both factors are zero, "
        "both gradients are zero, and neither factor ever moves",
        "both matrices of a low-rank pair, two layers in a row, or a gate and its branch start at zero",
        "start one of the two at random (LoRA: A random, B zero; zero-initialised branches: the last layer alone)",
        "Hu et al., LoRA, ICLR 2022",
        unit="parameters",
    ),
    "zero-gains": Explanation(
        "Normalisers whose gains are all zero",
        "a gain of zero at the end of a residual branch leaves the stream; anywhere else it stops the signal, and "
        "a stack of them opens one layer a step at best",
        "gains were set to zero in every normaliser instead of in the last one of each residual branch",
        "set gains to 1, and to 0 only in the last normaliser of a residual branch",
        "Goyal et al., Accurate, Large Minibatch SGD, 2017",
        unit="normalisers",
    ),
    "frozen-model": Explanation(
        "No parameter can be trained",
        "an optimiser moves parameters that take a gradient, and no parameter takes one",
        "requires_grad_(False) was called on the whole model",
        "let the layers that are to be trained take gradients: model.head.requires_grad_(True)",
        unit="parameters",
    ),
    "constant-loss": Explanation(
        "The loss does not depend on any parameter",
        "every gradient is exactly zero or absent, so no step changes the loss",
        "a loss that was detached, rounded, clipped or multiplied by zero, or targets that mask all of it",
        "differentiate the loss with respect to the output first: it must not be zero",
        unit="parameters",
    ),
}
