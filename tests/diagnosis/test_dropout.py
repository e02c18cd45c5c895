"""Dropout that leaves no signal, against a second way: one sample under two draws of the masks."""

import pytest
import torch
from torch import nn

import firstlight


def chain(*shares, width=64, norm=nn.Identity):
    layers = [layer for p in shares for layer in (nn.Linear(width, width), norm(), nn.ReLU(), nn.Dropout(p))]
    torch.manual_seed(0)
    return nn.Sequential(*layers, nn.Linear(width, 10))


def severity(model, x, **options):
    found = {v.code: v for v in firstlight.audit(model, x, **options).verdicts}
    return found["heavy-dropout"].severity if "heavy-dropout" in found else ""


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ((0.5, 0.5, 0.5), ""),
        ((0.8, 0.8), ""),
        ((0.9,), ""),
        ((0.9, 0.9), "warning"),
        ((0.95, 0.95), "unhealthy"),
        ((0.99,), "warning"),
        ((0.999,), "unhealthy"),
        ((1.0,), "unhealthy"),
    ],
)
def test_what_dropout_leaves_of_a_chain(shares, expected):
    assert severity(chain(*shares), torch.randn(64, 64)) == expected


def test_what_is_left_is_the_part_that_two_draws_share():
    model, x = chain(0.9, 0.9), torch.randn(4000, 64)
    # random signs take the mean of ReLU out, so that only the shares 1 − p remain
    signs = torch.randint(0, 2, (4000, 64)) * 2.0 - 1.0
    h = nn.functional.dropout(signs, 0.9)
    again = nn.functional.dropout(signs, 0.9)
    assert float((h * again).mean() / (h * h).mean()) == pytest.approx(
        0.1, abs=0.01
    )  # 256 000 entries: ± .001
    found = {v.code: v for v in firstlight.audit(model, x[:64]).verdicts}
    assert found["heavy-dropout"].measured == pytest.approx(64 * 0.1 * 0.1)


def test_a_skip_goes_around_and_an_evaluated_model_drops_nothing():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.99))

        def forward(self, x):
            return x + self.f(x)

    x = torch.randn(64, 64)
    assert severity(nn.Sequential(Block(), Block(), nn.Linear(64, 10)), x) == ""
    assert severity(chain(0.99, 0.99), x, training=False) == ""


def test_whole_channels_count_as_one_entry_and_maps_by_all_their_entries():
    torch.manual_seed(0)
    x = torch.randn(32, 3, 8, 8)

    def network(drop):
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.ReLU(),
            drop,
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, 5),
        )

    assert severity(network(nn.Dropout(0.95)), x) == ""
    assert severity(network(nn.Dropout2d(0.95)), x) == "warning"
