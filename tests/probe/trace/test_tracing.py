"""What becomes a row, what it is called, and how rows are linked."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from firstlight.probe import probe


def kinds(result):
    return [str(k) for k in result.profile["kind"]]


def names(result):
    return [str(n) for n in result.profile["name"]]


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(8, 16), nn.Linear(16, 16)

    def forward(self, x):
        x = F.relu(self.a(x))
        x = self.b(x).tanh()
        return x * 2.0


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x):
        for _ in range(3):
            x = torch.tanh(self.layer(x))
        return x


class Residual(nn.Module):
    def __init__(self, width=16, blocks=3):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(width, width), nn.ReLU()) for _ in range(blocks))

    def forward(self, x):
        for block in self.blocks:
            x = x + block(x)
        return x


def test_functional_activations_get_rows():
    result = probe(Functional(), torch.randn(32, 8))
    assert kinds(result) == ["input", "weight", "activation", "weight", "activation"]
    assert [str(op) for op in result.profile["op"]] == ["input", "linear", "relu", "linear", "mul"]


def test_a_shared_module_has_a_row_per_call():
    result = probe(Shared(), torch.randn(32, 8))
    assert names(result) == ["input", "layer", "tanh", "layer#2", "tanh#2", "layer#3", "tanh#3"]


@pytest.mark.parametrize("inplace", [False, True])
def test_in_place_activations_do_not_spoil_the_pre_activations(inplace):
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(8, 64), nn.ReLU(inplace=inplace), nn.Linear(64, 4))
    x = torch.randn(128, 8)
    rows = probe(net, x).profile
    z = net[0](x).detach().double()
    assert rows["q"][1] == pytest.approx(float((z**2).mean()), rel=1e-6)
    assert rows["q"][2] == pytest.approx(float((z.clamp_min(0) ** 2).mean()), rel=1e-6)


def test_residual_sums_show_branch_and_stream():
    torch.manual_seed(1)
    x = torch.randn(64, 16)
    net = Residual()
    rows = probe(net, x).profile.select("residual")
    assert len(rows) == 3
    assert rows["stream_q"][0] == pytest.approx(float((x**2).mean()), rel=1e-5)
    assert rows["branch_q"][0] == pytest.approx(float((net.blocks[0](x).detach() ** 2).mean()), rel=1e-5)


def test_in_place_sums_are_residual_too():
    class InPlace(Residual):
        def forward(self, x):
            x = x * 1.0
            for block in self.blocks:
                x += block(x)
            return x

    assert len(probe(InPlace(), torch.randn(8, 16)).profile.select("residual")) == 3


def test_a_projected_shortcut_is_residual():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.main, self.short = nn.Linear(8, 8), nn.Linear(8, 4), nn.Linear(8, 4)

        def forward(self, x):
            x = self.stem(x)
            return self.main(F.relu(x)) + self.short(x)

    assert "residual" in kinds(probe(Block(), torch.randn(16, 8)))


def test_the_sum_of_unrelated_embeddings_is_not_residual():
    class Embed(nn.Module):
        def __init__(self):
            super().__init__()
            self.token, self.place, self.head = nn.Embedding(9, 8), nn.Embedding(5, 8), nn.Linear(8, 2)

        def forward(self, ids):
            return self.head(self.token(ids) + self.place(torch.arange(5)))

    result = probe(Embed(), torch.randint(0, 9, (4, 5)))
    assert kinds(result) == ["embedding", "embedding", "weight"]


def test_attention_is_opened():
    net = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
    result = probe(net, torch.randn(4, 6, 16))
    assert {"self_attn.in_proj", "self_attn.out_proj", "linear1", "linear2"} <= set(names(result))
    assert "attention" in kinds(result)
    assert kinds(result).count("residual") == 2


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.Conv1d(3, 4, 3), (2, 3, 9)),
        (nn.Conv2d(3, 4, 3), (2, 3, 9, 9)),
        (nn.Conv3d(3, 4, 3), (2, 3, 5, 5, 5)),
        (nn.ConvTranspose1d(3, 4, 3), (2, 3, 9)),
        (nn.ConvTranspose2d(3, 4, 3, stride=2), (2, 3, 9, 9)),
        (nn.ConvTranspose3d(3, 4, 3), (2, 3, 5, 5, 5)),
        (nn.Conv2d(4, 8, 3, groups=2), (2, 4, 9, 9)),
        (nn.Linear(3, 4), (2, 5, 3)),
    ],
)
def test_weight_layers_of_every_dimension(module, shape):
    rows = probe(module, torch.randn(shape)).profile.select("weight")
    assert len(rows) == 1
    assert rows["log_grad"][0] == pytest.approx(0.0, abs=0.3)  # the random direction has rms 1
    fan_in = rows["fan_in"][0]
    assert rows["sigma_w"][0] == pytest.approx(
        (fan_in * float((module.weight.detach() ** 2).mean())) ** 0.5, rel=1e-5
    )


@pytest.mark.parametrize(
    "module", [nn.LSTM(8, 16), nn.GRU(8, 16), nn.RNN(8, 16), nn.LSTM(8, 16, 2, bidirectional=True)]
)
def test_recurrent_layers(module):
    result = probe(module, torch.randn(5, 4, 8))
    assert kinds(result) == ["input", "recurrent"]


@pytest.mark.parametrize(
    ("norm", "shape"),
    [
        (nn.BatchNorm1d(6), (16, 6)),
        (nn.BatchNorm2d(6), (8, 6, 4, 4)),
        (nn.LayerNorm(6), (16, 6)),
        (nn.GroupNorm(2, 6), (8, 6, 4, 4)),
        (nn.InstanceNorm2d(6, affine=True), (8, 6, 4, 4)),
        (nn.RMSNorm(6), (16, 6)),
    ],
)
def test_normalisers(norm, shape):
    rows = probe(nn.Sequential(norm), 3.0 * torch.randn(shape)).profile.select("norm")
    assert len(rows) == 1
    assert rows["q"][0] == pytest.approx(1.0, rel=0.02)
    assert rows["q_theory"][0] == pytest.approx(1.0)


def test_a_normaliser_written_by_hand_is_one_row():
    class MyRMSNorm(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(16))

        def forward(self, x):
            return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)

    result = probe(nn.Sequential(nn.Linear(8, 16), MyRMSNorm(), nn.Linear(16, 4)), torch.randn(32, 8))
    assert kinds(result) == ["input", "weight", "norm", "weight"]
    rows = result.profile
    assert rows["gradient_ratio"][1] == pytest.approx(1.0, abs=0.35)  # theory passes through the norm


def test_a_custom_autograd_activation_is_found_by_its_module():
    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, g):
            return 2 * ctx.saved_tensors[0] * g

    class SquareModule(nn.Module):
        def forward(self, x):
            return Square.apply(x)

    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 512), SquareModule(), nn.Linear(512, 512))
    nn.init.normal_(net[0].weight, 0, 1 / 8)
    rows = probe(net, torch.randn(64, 64)).profile
    assert list(rows["kind"]) == ["input", "weight", "activation", "weight"]
    q = rows["q"][1]
    assert rows["q_theory"][2] == pytest.approx(3 * q**2, rel=0.1)  # E z⁴ = 3 q² over samples of like norm


def test_structured_inputs_and_outputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 8), nn.Linear(6, 8)

        def forward(self, left, right=None):
            return {"logits": self.a(left) + self.b(right), "hidden": (left, [right])}

    left, right = torch.randn(8, 4), torch.randn(8, 6)
    by_name = probe(Two(), {"left": left, "right": right})
    assert names(by_name)[:2] == ["left", "right"]
    assert len(probe(Two(), (left, right)).profile) == len(by_name.profile)


def test_compiled_and_data_parallel_wrappers_are_opened():
    net = nn.Sequential(nn.Linear(8, 8), nn.Tanh())
    x = torch.randn(16, 8)
    plain = probe(net, x).profile["q"]
    for wrapped in (nn.DataParallel(net), torch.compile(net)):
        assert list(probe(wrapped, x).profile["q"]) == list(plain)


def test_a_compiled_submodule_is_seen_through():
    inner = nn.Sequential(nn.Linear(8, 8), nn.Tanh())
    net = nn.Sequential(torch.compile(inner), nn.Linear(8, 2))
    assert kinds(probe(net, torch.randn(16, 8))) == ["input", "weight", "activation", "weight"]


def test_scripted_modules_are_listed_not_hidden():
    net = nn.Sequential(nn.Linear(8, 8), torch.jit.script(nn.Sequential(nn.Linear(8, 8), nn.ReLU())))
    result = probe(net, torch.randn(4, 8))
    assert any("scripted" in s.reason for s in result.skipped)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_every_dtype(dtype):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 8)).to(dtype)
    rows = probe(net, torch.randn(64, 32).to(dtype)).profile
    assert rows["gradient_ratio"][1] == pytest.approx(1.0, rel=0.5)
    assert rows["q_ratio"][2] == pytest.approx(1.0, rel=0.2)


def test_frozen_networks_are_measured_too():
    net = nn.Sequential(nn.Linear(8, 8), nn.ReLU(inplace=True), nn.Linear(8, 2)).requires_grad_(False)
    rows = probe(net, torch.randn(16, 8)).profile.select("weight")
    assert all(rows["log_grad"] > -20)


def test_a_forward_without_gradients_is_said():
    class NoGrad(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(8, 8)

        @torch.no_grad()
        def forward(self, x):
            return self.layer(x)

    result = probe(NoGrad(), torch.randn(16, 8))
    assert any("no backward pass" in note for note in result.notes)
    assert result.profile["log_grad"][1] != result.profile["log_grad"][1]


def test_checkpointed_parts_have_one_row_each():
    from torch.utils.checkpoint import checkpoint

    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 2)

        def forward(self, x):
            return self.b(checkpoint(lambda t: torch.tanh(self.a(t)), x, use_reentrant=False))

    assert kinds(probe(Checkpointed(), torch.randn(16, 8))) == ["input", "weight", "activation", "weight"]


def test_a_maximum_over_an_axis_is_not_an_activation():
    class Pool(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 2)

        def forward(self, x):
            return self.b(torch.max(self.a(x), dim=1).values)

    assert kinds(probe(Pool(), torch.randn(16, 5, 8))) == ["input", "weight", "weight"]
