"""What one forward pass shows of how a model is built."""

import pytest
import torch
from torch import nn

from firstlight.probe import probe, structure


@pytest.mark.parametrize(
    ("layer", "shape", "kind"),
    [
        (nn.LayerNorm(8), (16, 8), "norm"),
        (nn.LSTM(8, 8), (5, 4, 8), "recurrent"),
        (nn.Linear(8, 8), (16, 8), "weight"),
        (nn.Sequential(nn.ZeroPad1d(1), nn.Linear(10, 8)), (16, 8), "weight"),
    ],
)
def test_what_stands_behind_an_activation_is_linked_to_the_activation(layer, shape, kind):
    found = structure(nn.Sequential(nn.Linear(8, 8), nn.ReLU(), layer), torch.randn(shape))
    assert list(found.profile["kind"]) == ["input", "weight", "activation", kind]
    assert found.links == ((), (0,), (1,), (2,))


def test_a_step_that_reads_two_dozen_rows_is_linked_to_all_of_them():
    class Columns(nn.Module):
        def __init__(self):
            super().__init__()
            self.tables = nn.ModuleList(nn.Embedding(20, 4) for _ in range(26))
            self.o = nn.Linear(26 * 4, 1)

        def forward(self, c):
            return self.o(torch.cat([t(c[:, i]) for i, t in enumerate(self.tables)], 1))

    torch.manual_seed(0)
    assert len(probe(Columns(), torch.randint(20, (64, 26))).links[-1]) == 26
