"""Plain numbers of modules that multiply a signal: set where the trace follows them, and put back."""

import pytest
import torch
from torch import nn

import firstlight


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def bits(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


class Branched(nn.Module):
    """x + α f(x/β) with numbers of the code, and a third number of the same value."""

    def __init__(self, width: int):
        super().__init__()
        self.alpha, self.beta, self.share = 0.7, 1.3, 0.7
        self.a, self.b = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x):
        return x + self.alpha * self.b(torch.relu(self.a(torch.relu(x / self.beta))))


def test_numbers_of_the_code_are_set_where_the_trace_follows_them():
    net = nn.Sequential(nn.Linear(16, 32), Branched(32), Branched(32), nn.Linear(32, 4))
    x, before = torch.randn(8, 16, generator=seeded()), bits(net)
    done = firstlight.initialise_(net, "normaliser-free(alpha=0.5)", x, generator=seeded())
    assert [(m.alpha, m.beta, m.share) for m in net[1:3]] == [
        (0.5, 1.0, 0.7),
        (0.5, pytest.approx(1.25**0.5), 0.7),
    ]
    assert {"1.alpha", "1.beta", "2.alpha", "2.beta"} < {line.name for line in done.lines}
    assert not any("write x" in left.reason for left in done.left)
    done.revert_()
    assert [(m.alpha, m.beta) for m in net[1:3]] == [(0.7, 1.3)] * 2
    assert bits(net).keys() == before.keys()
    assert all(torch.equal(v, before[k]) for k, v in bits(net).items())


def test_deepnorm_sets_the_factor_on_the_stream():
    class Post(nn.Module):
        def __init__(self):
            super().__init__()
            self.alpha = 1.0
            self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
            self.up, self.down = nn.Linear(16, 32), nn.Linear(32, 16)
            self.norms = nn.ModuleList([nn.LayerNorm(16), nn.LayerNorm(16)])

        def forward(self, x):
            x = self.norms[0](self.alpha * x + self.attention(x, x, x)[0])
            return self.norms[1](x * self.alpha + self.down(torch.relu(self.up(x))))

    net = nn.Sequential(Post(), Post(), nn.Linear(16, 3))
    x = torch.randn(2, 5, 16, generator=seeded())
    done = firstlight.initialise_(net, "deepnorm", x, generator=seeded())
    assert [block.alpha for block in net[:2]] == [pytest.approx(4**0.25)] * 2  # (2N)^¼ with N = 2
    assert not any("in its code" in left.reason for left in done.left)
    # a model that has the factor by now is told nothing
    again = firstlight.initialise_(net, "deepnorm", x, generator=seeded())
    assert not any("in its code" in left.reason for left in again.left)


def test_a_number_that_two_places_want_otherwise_is_named_instead():
    class Shared(nn.Module):
        """One β for two branches, which want √1 and √1.25."""

        def __init__(self):
            super().__init__()
            self.beta = 2.0
            self.layers = nn.ModuleList(nn.Linear(16, 16) for _ in range(4))

        def forward(self, x):
            for a, b in (self.layers[:2], self.layers[2:]):
                x = x + b(torch.relu(a(torch.relu(x / self.beta))))
            return x

    net = nn.Sequential(nn.Linear(8, 16), Shared(), nn.Linear(16, 2))
    x = torch.randn(8, 8, generator=seeded())
    done = firstlight.initialise_(net, "normaliser-free(alpha=0.5)", x, generator=seeded())
    assert sum("in its code" in left.reason for left in done.left) == 2
    assert net[1].beta == 2.0


def test_a_code_that_keeps_its_own_alpha_keeps_its_beta():
    """β belongs to α: x + f(x/β) with no number for α, and β = √(1 + k) of the code, stays as it is."""

    class Own(nn.Module):
        def __init__(self, beta):
            super().__init__()
            self.beta = beta
            self.a, self.b = nn.Linear(32, 32), nn.Linear(32, 32)

        def forward(self, x):
            return x + self.b(torch.relu(self.a(torch.relu(x / self.beta))))

    betas = [1.0, 2**0.5, 3**0.5]
    net = nn.Sequential(nn.Linear(16, 32), *[Own(beta) for beta in betas], nn.Linear(32, 4))
    x = torch.randn(8, 16, generator=seeded())
    done = firstlight.initialise_(net, "normaliser-free", x, generator=seeded())
    assert [block.beta for block in net[1:4]] == betas
    assert sum("write x + 0.2 * branch(x)" in left.reason for left in done.left) == 3
    # the α that the code has: β is set, here to what it is
    done = firstlight.initialise_(net, "normaliser-free(alpha=1.0)", x, generator=seeded())
    assert [block.beta for block in net[1:4]] == pytest.approx(betas)
    assert not any("in its code" in left.reason for left in done.left)
