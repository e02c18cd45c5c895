"""The door of audit and fix: batches as people have them, arguments that are none, and errors of the caller's code."""

import copy
import re

import pytest
import torch
from jaxtyping import TypeCheckError
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import firstlight
from firstlight.errors import AuditError, DomainError

X, Y = torch.randn(100, 8, generator=torch.Generator().manual_seed(0)), torch.arange(100) % 4


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))


class Stream(IterableDataset):
    def __iter__(self):
        return iter(zip(X, Y))


def test_a_second_argument_is_the_targets():
    assert firstlight.audit(model(), X, Y).profile == firstlight.audit(model(), X, targets=Y).profile
    assert firstlight.fix(model(), X, Y).before.measurement.meta["loss"] == "cross-entropy"


@pytest.mark.parametrize(
    ("given", "kind", "inputs"),
    [
        (DataLoader(TensorDataset(X, Y), batch_size=32), "DataLoader", X[:32]),
        (TensorDataset(X, Y), "TensorDataset", X[:64]),
        (Stream(), "Stream", X[:64]),
        (iter([(X, Y)]), "list_iterator", X),
        (firstlight.data.Dataset(X, Y, "made"), "Dataset", X[:64]),
    ],
    ids=["loader", "data set", "stream", "iterator", "our data set"],
)
def test_the_first_batch_is_taken_with_its_targets_and_the_result_says_so(given, kind, inputs):
    found = firstlight.audit(model(), given)
    assert found.notes[0] == f"the batch is the first of a {kind}, with its targets"
    assert found.profile == firstlight.audit(model(), inputs, Y[: len(inputs)]).profile


def test_a_loader_that_shuffles_gives_one_batch_for_one_seed_and_moves_no_generator():
    loader = DataLoader(TensorDataset(X, Y), batch_size=32, shuffle=True)
    network = model()
    before = torch.get_rng_state()
    first, second = firstlight.audit(network, loader), firstlight.audit(network, loader)
    assert first.profile == second.profile
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": 1000}, r"expected budget to be .*, got 1000 \(int\); pass for example budget=Budget\("),
        ({"training": "eval"}, r"expected training to be True, False or None, got 'eval' .*training=False"),
        ({"seed": "a"}, r"expected seed to be a whole number, got 'a'"),
        ({"loss": "cross-entropy"}, r"expected targets for the loss cross-entropy, got none"),
        ({"loss": "crossentropy", "targets": Y}, r"got 'crossentropy'; did you mean 'cross-entropy'\?"),
        ({"loss": nn.CrossEntropyLoss, "targets": Y}, r"got CrossEntropyLoss; pass .*CrossEntropyLoss\(\)"),
        ({"loss": nn.CrossEntropyLoss()}, r"no targets were given: pass targets"),
    ],
)
@pytest.mark.parametrize("verb", [firstlight.audit, firstlight.fix])
def test_one_sentence_for_each_argument(verb, options, message):
    # the suite's typing hook, where it is on, answers before the function for a value of another type
    with pytest.raises((AuditError, TypeCheckError)) as caught:
        verb(model(), X, **options)
    assert isinstance(caught.value, TypeCheckError) or re.search(message, str(caught.value)), caught.value


def test_names_of_losses_are_those_of_the_command_line():
    def gradients(*targets, **options):
        return firstlight.audit(model(), X, *targets, **options).profile["log_grad"].tolist()[1:]

    assert gradients(Y, loss="cross-entropy") == gradients(Y, loss="auto") == gradients(Y)
    assert gradients(Y, loss="none") == gradients() != gradients(Y)


@pytest.mark.parametrize(
    ("network", "sample"),
    [
        (nn.Linear(8, 4), X[0]),
        (nn.Conv2d(3, 4, 3), torch.randn(3, 8, 8)),
        (nn.Conv1d(3, 4, 3), torch.randn(3, 8)),
    ],
    ids=["dense", "image", "signal"],
)
def test_one_sample_is_no_batch(network, sample):
    with pytest.raises(AuditError, match=r"got one sample of shape .*; pass several samples"):
        firstlight.audit(network, sample)
    assert len(firstlight.audit(network, sample[None]).profile) == 2


def test_a_misspelt_code_is_answered_with_the_nearest():
    result = firstlight.audit(model(), X)
    with pytest.raises(DomainError, match="got 'dead-unit'; did you mean 'dead-units'"):
        result.assert_healthy(ignore=["dead-unit"])
    result.assert_healthy(ignore="dead-units")


class Recursive(nn.Linear):
    def forward(self, x):
        return self.forward(super().forward(x))


class Stubborn(nn.Linear):
    def train(self, mode=True):
        raise KeyError("no modes here\nand more")

    def __deepcopy__(self, memo):
        raise LookupError("no copies here")


def raises(*given):
    raise OSError("the disk is gone")


def hooked(register):
    layer = nn.Linear(8, 8)
    getattr(layer, register)(raises)
    return layer


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: firstlight.audit(Recursive(8, 8), X), r"RecursionError.*calls itself without end"),
        (
            lambda: firstlight.audit(Stubborn(8, 8), X),
            r"while setting the mode of Stubborn: .*no modes here",
        ),
        (
            lambda: firstlight.audit(model(), X, loss=raises),
            r"while calling the loss raises: .*OSError: the disk",
        ),
        (
            lambda: firstlight.audit(hooked("register_forward_hook"), X),
            r"OSError: the disk is gone .*; check",
        ),
        (lambda: firstlight.audit(hooked("register_forward_pre_hook"), X), r"OSError: the disk is gone"),
        (
            lambda: firstlight.audit(hooked("register_full_backward_hook"), X),
            r"in the backward pass: OSError",
        ),
        (lambda: firstlight.audit(model(), iter([])), r"expected at least one sample, got none"),
        (lambda: firstlight.audit(model(), iter(raises, None)), r"while taking the first batch.*OSError"),
    ],
)
@pytest.mark.filterwarnings("ignore:Full backward hook:UserWarning")
def test_an_error_of_the_callers_code_is_one_sentence_that_blames_nobody_else(make, message):
    with pytest.raises(AuditError, match=message) as caught:
        make()
    assert "fault of firstlight" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is not None or "sample" in message


def test_an_error_of_ours_is_not_the_callers(monkeypatch):
    from firstlight.probe.read.reader import Reader

    source = "def broken(self, *given):\n    return [][1]\n"
    space = {"__name__": "firstlight.probe.read.reader"}
    exec(compile(source, "reader.py", "exec"), space)
    monkeypatch.setattr(Reader, "read", space["broken"])
    with pytest.raises(AuditError, match="this is a fault of firstlight"):
        firstlight.audit(model(), X)


def test_fix_says_what_cannot_be_copied():
    class Uncopied(nn.Linear):
        def __deepcopy__(self, memo):
            raise LookupError("no copies here\nand more")

    with pytest.raises(AuditError, match=r"deepcopy can copy, got LookupError: no copies here; detach"):
        firstlight.fix(nn.Sequential(Uncopied(8, 8)), 1e4 * X)


def test_a_batch_is_copied_for_every_pass():
    class Scales(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = model()

        def forward(self, x):
            return self.layers(x.div_(255.0))

    pixels = X.abs() * 255
    before = copy.deepcopy(pixels)
    first = firstlight.audit(Scales(), pixels)
    result = firstlight.fix(Scales(), pixels, warnings=True)
    assert torch.equal(pixels, before)
    assert result.before.profile == first.profile
    assert result.after.profile["q"][0] == first.profile["q"][0]


def test_a_batch_to_which_the_model_adds_an_axis_is_no_single_sample():
    class Spectrum(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(2, 4, 3)

        def forward(self, x):  # samples × channels × time to samples × parts × frequencies × frames
            z = torch.stft(x[:, 0], 16, window=torch.ones(16), return_complex=True)
            return self.conv(torch.stack([z.real, z.imag], 1))

    x = torch.randn(2, 1, 64)  # as many samples as the convolution has inputs
    assert len(firstlight.audit(Spectrum(), x).profile) >= 2
