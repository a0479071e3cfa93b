"""Networks for images: places of activations, starts, distillation."""

import pytest
import torch
from torch.nn import functional

from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import resolve
from actsmith.nn.activation import Activation
from actsmith.nn.start import start_of
from actsmith.tasks.distilled import Distilled, Taught
from actsmith.tasks.images import Images
from actsmith.tasks.task import start_of_model
from actsmith.tasks.vision import Cnn, ResNet, Timm, Vit

CPU = torch.device("cpu")
TOKEN = Timm(
    "deit_tiny_distilled_patch16_224",
    options=(("patch_size", 4), ("embed_dim", 16), ("depth", 2), ("num_heads", 2)),
)


@pytest.fixture(scope="module")
def digits():
    return Images("digits").load(None)


# ------------------------------------------------------------------------------------------------------------- networks

SMALL = [
    (Cnn(width=4, depth=4, stages=2), 4),
    (Cnn(width=4, depth=3, norm=True, init="kaiming"), 3),
    (ResNet(width=4, blocks=1), 7),
    (ResNet(width=4, blocks=2, norm=False, init="critical"), 13),
    (Vit(dim=12, depth=2, heads=2, patch=4), 2),
    (Timm("test_resnet", where="relu", sized=False, options=(("zero_init_last", False),)), None),
    (TOKEN, 2),
]


@pytest.mark.parametrize(("config", "count"), SMALL, ids=[type(c).__name__ + str(i) for i, (c, _) in enumerate(SMALL)])
def test_every_network_has_the_activation_everywhere(config, count, digits):
    torch.manual_seed(0)
    model = config.build(resolve("crrelu"), 0, digits)
    activations = [m for m in model.modules() if isinstance(m, Activation)]
    assert len(activations) == count or (count is None and activations)
    kinds = {type(m).__name__ for m in model.modules()}
    assert not kinds & {"ReLU", "GELU", "SiLU"}
    x, y = digits.batch(torch.arange(8), CPU)
    out = model.eval()(x)
    assert out.shape == (8, 10)
    functional.cross_entropy(out, y).backward()
    assert all(a.eps.grad is not None and a.eps.grad != 0 for a in activations)


@pytest.mark.parametrize("name", ["gelu", "silu", "crrelu"])
def test_a_critical_network_starts_with_the_kernel_of_its_activation(name):
    """K of the second convolution's output, over many channels and inputs without borders."""
    config = Cnn(width=256, depth=2, stages=1)
    shape = type("Shape", (), {"inputs": (3, 9, 9), "outputs": 10})
    torch.manual_seed(0)
    network = config.build(resolve(name), 0, shape)
    start = start_of(resolve(name), 2)
    h = network[:2](torch.randn(64, 3, 9, 9))[..., 1:-1, 1:-1]
    assert h.square().mean().item() == pytest.approx(start.K0, rel=0.1)


def test_a_residual_network_without_norm_keeps_its_variance(digits):
    torch.manual_seed(0)
    network = ResNet(width=32, blocks=6, norm=False).build(resolve("relu"), 0, digits)
    h = torch.randn(16, 1, 8, 8)
    sizes = [(h := layer(h)).square().mean().item() for layer in network[:-4]]
    assert sizes[-1] < 8 * sizes[1]


def test_what_does_not_fit_is_said(digits):
    with pytest.raises(ActsmithError, match=r"patch: got 3 for images of side 8"):
        Vit(patch=3).build(resolve("relu"), 0, digits)
    with pytest.raises(ActsmithError, match=r"depth=2, stages=3"):
        Cnn(depth=2, stages=3).build(resolve("relu"), 0, digits)
    with pytest.raises(ActsmithError, match=r"no model named 'vit_minute'"):
        Timm("vit_minute").build(resolve("relu"), 0, digits)
    flat = type("Flat", (), {"inputs": (64,), "outputs": 10})
    with pytest.raises(ActsmithError, match=r"got inputs \(64,\); expected images"):
        ResNet().build(resolve("relu"), 0, flat)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "tnt_s_legacy_patch16_224"]
)
def test_the_published_models_take_the_activation(name):
    shape = type("Shape", (), {"inputs": (3, 224, 224), "outputs": 10})
    model = Timm(name, drop_path=0.1).build(resolve("crrelu"), 0, shape)
    count = sum(isinstance(m, Activation) for m in model.modules())
    assert count == (24 if name.startswith("tnt") else 12)
    assert model.eval()(torch.zeros(1, 3, 224, 224)).shape == (1, 10)


# --------------------------------------------------------------------------------------------------------- distillation


@pytest.fixture(scope="module")
def taught():
    images = Images("digits", train=500, smoothing=0.1)
    return Distilled(images, teacher="test_efficientnet", pretrained=False).load(None)


def test_a_teacher_of_other_classes_gets_a_readout_that_knows_them(taught):
    """Even on random features far better than chance, on images that it was not fitted to."""
    x, y = taught.problem.splits["test"]
    answers = taught.teacher(taught.problem.normalised(x)).argmax(-1)
    assert (answers == y).double().mean() > 0.4
    assert not any(p.requires_grad for p in taught.teacher.parameters())


def test_hard_distillation_is_the_published_loss(taught):
    torch.manual_seed(0)
    model = TOKEN.build(resolve("crrelu"), 0, taught)
    x, y = taught.batch(torch.arange(16), CPU)
    heads = model(x)
    assert heads.shape == (16, 2, 10)
    answers = taught.teacher(x).argmax(-1)
    logs = heads.log_softmax(-1)
    smooth = functional.one_hot(y, 10) * 0.9 + 0.1 / 10
    label_part = -(smooth * logs[:, 0]).sum(-1).mean()
    teacher_part = -logs[torch.arange(16), 1, answers].mean()
    torch.testing.assert_close(taught.loss(model, (x, y)), (label_part + teacher_part) / 2)
    model.eval()
    torch.testing.assert_close(model(x), heads.mean(1))


def test_a_model_without_the_token_cannot_be_distilled(taught):
    model = Vit(dim=12, depth=1, heads=2).build(resolve("relu"), 0, taught)
    with pytest.raises(ActsmithError, match=r"expected \(batch, 2, classes\)"):
        taught.loss(model, taught.batch(torch.arange(4), CPU))


def test_a_teacher_that_cannot_be_had(monkeypatch):
    import timm

    def offline(*arguments, **options):
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(ActsmithError, match=r"teacher 'regnety_160.deit_in1k': cannot be had \(no route to host\)"):
        Distilled(Images("digits")).load(None)


def test_distilled_problems_are_scored_on_the_images(taught):
    model = TOKEN.build(resolve("relu"), 0, taught).eval()
    assert isinstance(taught, Taught)
    assert taught.score(model, "test")["accuracy"] == taught.problem.score(model, "test")["accuracy"]


def test_a_taught_problem_has_what_its_images_have(taught):
    other = Taught(taught.problem, taught.teacher, "another")
    assert taught.fingerprint != other.fingerprint != taught.problem.fingerprint
    assert (taught.random, taught.alone, taught.size) == (False, False, 500)


def test_who_draws_its_own_start_says_so():
    formula = resolve("silu")
    assert start_of_model(Cnn(4, 4, 2), formula) == start_of("silu", 4)
    assert start_of_model(ResNet(4, 2, init="critical"), formula) == start_of("silu", 12)
    assert start_of_model(Cnn(init="kaiming"), formula).universality == "kaiming"
    assert start_of_model(Vit(), formula) is None


def test_weights_that_cannot_be_fetched(monkeypatch, digits):
    import timm

    def offline(*arguments, **options):
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(ActsmithError, match=r"weights of 'test_vit' cannot be had \(no route to host\)"):
        Timm("test_vit", pretrained=True).build(resolve("relu"), 0, digits)
