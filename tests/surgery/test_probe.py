"""Probing real models: the laws found, and that the model is left as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import actsmith as acts
from actsmith.errors import ActsmithError, LawError
from actsmith.nn import Activation
from actsmith.surgery.probe import probe
from actsmith.surgery.sites import activation_modules, is_activation


def digits() -> tuple[Tensor, Tensor]:
    images, labels = load_digits(return_X_y=True)
    return torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(64, 40), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(40, 30), Activation("crrelu"),
        nn.LayerNorm(30), nn.Linear(30, 10),
    )  # fmt: skip


def test_digits() -> None:
    x, y = digits()
    model = network().train()
    model[2].eval()
    laws = probe(model, DataLoader(TensorDataset(x, y), batch_size=256))
    assert list(laws) == ["1", "4"]
    with torch.no_grad():
        z1 = model[0](x)
        z4 = model[3](torch.relu(z1))
    for law, z in ((laws["1"], z1), (laws["4"], z4)):
        assert isinstance(law, acts.Empirical)
        assert law.count == z.numel()
        assert law.sample_mean == pytest.approx(z.mean().item(), abs=1e-5)
        assert law.sample_std == pytest.approx(z.std().item(), rel=1e-4)
        points = np.quantile(z.numpy(), [0.1, 0.5, 0.9])
        np.testing.assert_allclose(law.cdf(points), [0.1, 0.5, 0.9], atol=0.01)
    assert model.training
    assert model[0].training
    assert not model[2].training
    assert not any(m._forward_pre_hooks for m in model.modules())


def test_batches_do_not_matter_and_need_no_targets() -> None:
    x, y = digits()
    model = network()
    whole = probe(model, x)["4"]
    for batches in ([x[:900], x[900:]], [(x[:900], y[:900]), [x[900:]]], iter([x]), [{"input": x}], {"input": x}):
        law = probe(model, batches)["4"]
        assert law.count == whole.count
        assert law.sample_mean == pytest.approx(whole.sample_mean, abs=1e-6)
        assert law.mean == pytest.approx(whole.mean, abs=0.01)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtypes(dtype: torch.dtype) -> None:
    x, _ = digits()
    model = network()
    expected = probe(model, x)["1"]
    law = probe(network().to(dtype), x.to(dtype))["1"]
    assert law.std == pytest.approx(expected.std, rel=0.01)


def test_the_model_is_as_before_after_an_error() -> None:
    x, _ = digits()
    model = network().train()
    with pytest.raises(RuntimeError):
        probe(model, [x, x[:, :3]])
    assert all(m.training for m in model.modules())
    assert not any(m._forward_pre_hooks for m in model.modules())
    y = model(x)
    assert y.requires_grad


class Unknown(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sin(x)


class PerChannel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.rand(40))

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, x, self.slope * x)


class LayerScale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.rand(40))

    def forward(self, x: Tensor) -> Tensor:
        return self.gamma * x


class Normalise(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x / x.square().mean(-1, keepdim=True).sqrt()


class Pair(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.tanh(x) * y


def test_unknown_classes_are_recognised_by_what_they_do() -> None:
    x, _ = digits()
    model = nn.Sequential(
        nn.Linear(64, 40), Unknown(), LayerScale(), Normalise(), PerChannel(), nn.Identity(), nn.Dropout(),
        nn.Softmax(-1),
    )  # fmt: skip
    assert list(probe(model, x)) == ["1", "4"]


@pytest.mark.parametrize("package", ["transformers", "timm"])
def test_known_classes_of_other_packages(package: str) -> None:
    if package == "timm":
        activations = pytest.importorskip("timm.layers.activations")
        modules = [activations.Swish(), activations.HardMish(), activations.QuickGELU(), activations.PReLU()]
    else:
        table = pytest.importorskip("transformers.activations").ACT2FN
        modules = [table[name] for name in ("gelu", "gelu_new", "quick_gelu", "relu2", "gelu_10", "laplace", "linear")]
    known, possible = activation_modules(nn.Sequential(*modules))
    assert list(known) == [str(i) for i in range(len(modules) - (package == "transformers"))]
    x = torch.linspace(-3, 3, 50)
    assert all(is_activation(module, x) for module in known.values())
    assert not any(is_activation(module, x) for module in possible.values())


@pytest.mark.parametrize("model", [nn.Linear(64, 3), nn.Sequential(nn.Linear(64, 40), Normalise(), LayerScale())])
def test_a_model_without_any_site(model: nn.Module) -> None:
    with pytest.raises(ActsmithError, match=r"holds no activation; looked for .*torch\.nn"):
        probe(model, digits()[0])


def test_chosen_sites() -> None:
    x, _ = digits()
    laws = probe(network(), x, sites=["4"])
    assert list(laws) == ["4"]
    with pytest.raises(ActsmithError, match="no module '11' in Sequential; did you mean 1"):
        probe(network(), x, sites=["11"])
    with pytest.raises(ActsmithError, match="expected a list"):
        probe(network(), x, sites="4")
    with pytest.raises(ActsmithError, match="no batch reached 1, 4"):
        probe(network(), [])


def test_a_law_that_is_none_names_its_site() -> None:
    x, _ = digits()
    model = nn.Sequential(nn.Linear(64, 40), nn.ReLU(), nn.ReLU())
    with pytest.raises(LawError, match=r"site '2'.*atom"):
        probe(model, x, ["1", "2"])
    with pytest.raises(LawError, match=r"site '0'.*atom"):
        probe(nn.Sequential(nn.ReLU(), nn.Linear(64, 2)), x.relu())
    with pytest.raises(LawError, match="site '1'"):
        probe(model, x[:1] * float("nan"))
    with pytest.raises(ActsmithError, match="batch of int"):
        probe(model, [3])


def test_a_fresh_residual_network_whose_branches_start_at_zero() -> None:
    timm = pytest.importorskip("timm")
    model = timm.create_model("resnet18", num_classes=3, zero_init_last=True)
    found = probe(model, torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    assert "act1" in found
    assert "layer2.1.act2" not in found
    assert "atom" in (found.records["layer2.1.act2"].reason or "")
    assert found.records["layer2.1.act2"].mean > 0


def test_a_vision_transformer() -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", pretrained=False, img_size=64, num_classes=10)
    laws = probe(model, [torch.randn(4, 3, 64, 64)])
    assert list(laws) == [f"blocks.{i}.mlp.act" for i in range(12)]
    assert all(law.count == 4 * 17 * 768 for law in laws.values())


def test_a_language_model() -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=100, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
    )
    model = transformers.BertForSequenceClassification(config)
    tokens = torch.randint(100, (8, 16), generator=torch.Generator().manual_seed(0))
    batch = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "labels": torch.zeros(8), "extra": 1}
    laws = probe(model.bert, [{k: v for k, v in batch.items() if k != "extra"}])
    paths = [f"encoder.layer.{i}.intermediate.intermediate_act_fn" for i in range(2)]
    assert list(laws) == [*paths, "pooler.activation"]
    assert laws[paths[0]].count == 8 * 16 * 64
