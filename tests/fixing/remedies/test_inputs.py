"""Raw inputs: what standardises them is put in front of the layers that read them."""

import pytest
import torch
from torch import nn

import firstlight
from firstlight.fixing.remedies import Standardised


def generator():
    return torch.Generator().manual_seed(0)


def dense(columns):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(columns, 32), nn.Tanh(), nn.Linear(32, 2))


def pixels(count=128, columns=16):
    return torch.randint(0, 256, (count, columns), generator=generator()).float()


def uneven():
    scales = torch.ones(16)
    scales[3] = 1e4
    return torch.randn(128, 16, generator=generator()) * scales + 5 * scales


@pytest.mark.parametrize("inputs", [pixels, uneven], ids=["pixels", "a column in another unit"])
def test_raw_inputs_are_standardised_by_fixed_numbers_in_front_of_the_first_layer(inputs):
    x = inputs()
    y = (x[:, 0] > x[:, 0].median()).long()
    model = dense(16)
    plain = firstlight.fix(model, x, targets=y)
    assert not plain.changed
    assert plain.structural_help == ("standardised-inputs",)
    result = firstlight.fix(model, x, targets=y, structural=True)
    assert [a.remedy for a in result.kept] == ["standardised-inputs"]
    assert result.structural
    assert result.healthy
    first = result.model[0]
    assert isinstance(first[0], Standardised)
    assert torch.equal(first[1].weight, model[0].weight)
    # float32 keeps seven digits of the inputs
    given = first[0](x)
    assert torch.allclose(given.mean(0), torch.zeros(16), atol=1e-5)
    assert torch.allclose(given.square().mean(), torch.ones(()), rtol=1e-5)
    # columns of one unit keep their sizes beside one another
    deviation = first[0].deviation
    assert (float(deviation.max() / deviation.min()) > 1e3) is (inputs is uneven)
    assert {"0.0.mean", "0.0.deviation"} <= set(result.model.state_dict())


def test_a_constant_column_and_the_channels_of_an_image_are_standardised():
    x = torch.randint(0, 256, (64, 3, 6, 6), generator=generator()).float()
    x[:, 1] = 7.0
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, 2))
    y = torch.randint(0, 2, (64,), generator=generator())
    result = firstlight.fix(model, x, targets=y, structural=True, remedies="standardised-inputs")
    assert result.changed
    assert result.model[0][0].mean.shape == (3, 1, 1)
    given = result.model[0][0](x)
    assert bool((given[:, 1] == 0).all())
    assert torch.allclose(given.square().mean(), torch.ones(()), rtol=1e-5)
