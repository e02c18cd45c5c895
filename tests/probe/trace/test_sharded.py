"""Sharded and distributed parameters are audited as the whole ones are, on one rank and on two."""

import socket
import warnings

import pytest
import torch
from torch import distributed, nn

from firstlight.probe import probe


def blocks():
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Linear(32, 32), nn.LayerNorm(32), nn.GELU())
    return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), inner, nn.Linear(32, 4))


def compare(found, expected):
    assert found.coverage.share == found.coverage.gradient_share == 1.0
    assert list(found.profile["name"]) == list(expected.profile["name"])
    for column in ("q", "log_grad"):
        torch.testing.assert_close(
            torch.tensor(found.profile[column]), torch.tensor(expected.profile[column]), equal_nan=True
        )


def on_a_rank(rank, world, port):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import Replicate, distribute_module, distribute_tensor
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    warnings.simplefilter("ignore")  # torch warns about its own sharding on CPUs
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=world)
    try:
        mesh = init_device_mesh("cpu", (world,))
        x = torch.randn(32, 16, generator=torch.Generator().manual_seed(1))
        expected = probe(blocks(), x)

        sharded = blocks()
        fully_shard(sharded[2], mesh=mesh)
        fully_shard(sharded, mesh=mesh)
        compare(probe(sharded, x), expected)
        compare(probe(sharded, x), expected)
        sharded(x).sum().backward()  # the model trains after an audit
        assert sharded[0].weight.grad is not None

        distributed_ = distribute_module(blocks(), mesh)
        compare(probe(distributed_, distribute_tensor(x, mesh, [Replicate()])), expected)

        torch.manual_seed(0)
        parallel = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
        whole = probe(parallel, x)
        parallelize_module(parallel, mesh, {"0": ColwiseParallel(), "2": RowwiseParallel()})
        split = probe(parallel, x)
        assert split.coverage.share == split.coverage.gradient_share == 1.0
        assert [str(n) for n in split.profile["name"]] == ["input", "0", "1", "2"]
        for row in (1, 3):  # row 2 is the rank's own half of the units
            for column in ("q", "log_grad"):
                assert split.profile[column][row] == pytest.approx(whole.profile[column][row], rel=1e-5)
    finally:
        distributed.destroy_process_group()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


needs_distributed = pytest.mark.skipif(
    not distributed.is_available(), reason="this torch has no torch.distributed"
)


@needs_distributed
@pytest.mark.filterwarnings("ignore")
def test_sharded_parameters_on_one_rank():
    threads = torch.get_num_threads()
    try:
        on_a_rank(0, 1, free_port())
    finally:
        torch.set_num_threads(threads)


@needs_distributed
@pytest.mark.slow
def test_sharded_parameters_on_two_ranks():
    torch.multiprocessing.spawn(on_a_rank, (2, free_port()), nprocs=2)
