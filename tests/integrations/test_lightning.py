"""Lightning: a checkpoint that puts the swap in before it loads."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from actsmith.integrations.lightning import KEY, KeepsSwap
from actsmith.nn import Activation, CRReLU
from actsmith.surgery.replace import replace_

X = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))


def test_the_hooks_on_their_own():
    class Net(KeepsSwap, nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act = nn.GELU()

    net, other, checkpoint = Net(), Net(), {}
    net.act = CRReLU(0.3)
    net.on_save_checkpoint(checkpoint)
    other.on_load_checkpoint(checkpoint)
    assert isinstance(other.act, Activation)
    other.on_load_checkpoint({})  # of an earlier version
    assert [row["path"] for row in checkpoint[KEY]] == ["act"]


class Calls(KeepsSwap, nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 8), nn.Linear(8, 1)

    def forward(self, x):
        return self.last(torch.relu(self.first(x)))


def test_calls_of_functions():
    torch.manual_seed(0)
    net, checkpoint = Calls(), {}
    other = copy.deepcopy(net)
    replace_(net, "silu", example=X)
    net.on_save_checkpoint(checkpoint)
    other.on_load_checkpoint(checkpoint)
    assert torch.equal(other(X), net(X))


@pytest.mark.filterwarnings("ignore")
def test_a_checkpoint(tmp_path):
    lightning = pytest.importorskip("lightning")

    class Net(KeepsSwap, lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 1))

        def forward(self, x):
            return self.net(x)

        def training_step(self, batch, _):
            return self.net(batch[0]).square().mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    net = Net()
    replace_(net, "crrelu", example=X)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X), batch_size=4)
    options = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = lightning.Trainer(max_epochs=1, default_root_dir=tmp_path, **options)
    trainer.fit(net, loader)
    trainer.save_checkpoint(tmp_path / "net.ckpt")
    again = Net.load_from_checkpoint(tmp_path / "net.ckpt", weights_only=False)
    assert torch.equal(again(X), net(X))
    assert float(again.net[1].eps) != 0.01
