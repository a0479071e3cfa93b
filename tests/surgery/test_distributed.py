"""Two processes: the two lines of the refusal do what they say, with replicas and with shards."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, multiprocessing, nn
from torch.distributed.fsdp import fully_shard
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from actsmith.errors import ActsmithError
from actsmith.surgery.replace import replace_

X, Y = torch.randn(8, 4, generator=torch.Generator().manual_seed(0)), torch.ones(8, 2)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.act, self.b = nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(functional.gelu(self.act(self.a(x))))


def swapped() -> nn.Module:
    torch.manual_seed(0)
    net = Net()
    replace_(net, "crrelu", example=X)
    return net


def trained(net: nn.Module, x: Tensor, y: Tensor) -> nn.Module:
    optimizer = torch.optim.SGD(net.parameters(), 0.5)
    for _ in range(3):
        optimizer.zero_grad()
        (net(x) - y).square().mean().backward()
        optimizer.step()
    return net


def rank(number: int, folder: str) -> None:
    os.environ |= {"GLOO_SOCKET_IFNAME": "lo"}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=number, world_size=2)
    try:
        mine, targets = X[number::2], Y[number::2]
        replica = DistributedDataParallel(swapped())
        with pytest.raises(ActsmithError, match="swap first, then wrap"):
            replace_(replica, "crrelu", example=X)
        state = trained(replica, mine, targets).module.state_dict()  # type: ignore[operator, union-attr]
        sharded = swapped()
        fully_shard(sharded, mesh=dist.device_mesh.init_device_mesh("cpu", (2,)))
        with pytest.raises(ActsmithError, match="swap first, then wrap"):
            replace_(sharded, "crrelu", example=X)
        trained(sharded, mine, targets)
        shards = {n: p.full_tensor() for n, p in sharded.state_dict().items()}
        torch.save({"replica": state, "shards": shards}, f"{folder}/{number}.pt")
        dist.barrier()
        os._exit(0)  # PyTorch's teardown may abort a process whose work is done
    finally:
        dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_swapped_then_wrapped(tmp_path: Path) -> None:
    multiprocessing.spawn(rank, (str(tmp_path),), nprocs=2)  # type: ignore[no-untyped-call]
    found = [torch.load(tmp_path / f"{number}.pt") for number in range(2)]
    alone = trained(swapped(), X, Y).state_dict()
    assert alone["act.eps"] != 0.01
    for states in found:
        for state in states.values():
            assert state.keys() == alone.keys()
            for name, value in alone.items():
                torch.testing.assert_close(state[name], value)
