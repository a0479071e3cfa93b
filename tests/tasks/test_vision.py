"""Images and the networks for them: splits, augmentation, files, places of activations, distillation."""

import io
import random

import numpy as np
import pytest
import torch
from torch.nn import functional

from actsmith.errors import ActsmithError
from actsmith.experiments.distilled import Distilled, DistilledToken, Taught
from actsmith.experiments.files import cifar100_arrays
from actsmith.experiments.images import MemoryImages, _cropped
from actsmith.experiments.initial import initialisation
from actsmith.experiments.models import Single
from actsmith.experiments.vision import Cnn, Images, ResNet, Timm, Vit
from actsmith.formula.catalogue import get
from actsmith.nn.activation import Activation

CPU = torch.device("cpu")
TOKEN = Timm(
    "deit_tiny_distilled_patch16_224",
    options=(("patch_size", 4), ("embed_dim", 16), ("depth", 2), ("num_heads", 2)),
)


@pytest.fixture(scope="module")
def digits():
    return Images("digits").load(None)


def colours(count=40, side=8, classes=4):
    """Random colour images and labels, train and test."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    y = np.arange(count) % classes
    return x, y, x[: count // 2], y[: count // 2]


# ----------------------------------------------------------------------------------------------------- images in memory


def test_splits_share_no_image_and_every_class_has_its_share():
    x, y, test_x, test_y = colours(count=400)
    x[:, 0, 0, 0], x[:, 0, 0, 1] = np.arange(400) % 256, np.arange(400) // 256
    problem = MemoryImages(Images(train=200, validation=20, test=40), (x, y, test_x, test_y))
    numbers = [p[:, :2, 0, 0].int() @ torch.tensor([1, 256], dtype=torch.int32)
               for p in (problem.train[0], problem.splits["validation"][0])]  # fmt: skip
    assert not set(numbers[0].tolist()) & set(numbers[1].tolist())
    assert [len(set(n.tolist())) for n in numbers] == [200, 20]
    for _, labels in (problem.train, *problem.splits.values()):
        assert len(set(labels.bincount().tolist())) == 1


def test_more_training_images_contain_the_fewer():
    arrays = colours(count=400)
    few, many = (MemoryImages(Images(train=n), arrays).train[0] for n in (50, 100))
    kept = {p.numpy().tobytes() for p in many}
    assert all(p.numpy().tobytes() in kept for p in few)


def test_more_images_than_there_are():
    with pytest.raises(ActsmithError, match=r"validation: got 200 images; expected 1 to 108"):
        Images("digits", validation=200).load(None)


def test_an_unknown_data_set():
    with pytest.raises(ActsmithError, match=r"dataset: got 'svhn'; expected cifar10, "):
        Images("svhn").load(None)


def test_channels_have_mean_0_and_deviation_1():
    x, y, *test = colours()
    x[..., 1] //= 4
    problem = MemoryImages(Images(), (x, y, *test))
    seen, _ = problem.batch(torch.arange(problem.size)[None], CPU)
    assert seen.shape == (1, 36, 3, 8, 8)
    assert seen.dtype == torch.float32
    torch.testing.assert_close(seen.mean((0, 1, 3, 4)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(seen.square().mean((0, 1, 3, 4)), torch.ones(3), atol=1e-5, rtol=0)


@pytest.mark.parametrize("mirror", [False, True])
def test_a_crop_is_the_image_moved_by_whole_pixels(mirror):
    image = torch.arange(1, 65, dtype=torch.uint8).view(1, 1, 8, 8)
    torch.manual_seed(0)
    found = _cropped(image.expand(60, 1, 8, 8), mirror)
    padded = functional.pad(image, [1] * 4)[0, 0]
    moved = {padded[i : i + 8, j : j + 8].numpy().tobytes(): (i, j) for i in range(3) for j in range(3)}
    straight = [f[0].numpy().tobytes() in moved for f in found]
    mirrored = [f[0].flip(1).numpy().tobytes() in moved for f in found]
    assert all(a != b for a, b in zip(straight, mirrored, strict=True))
    assert any(mirrored) == mirror
    assert any(straight)
    assert len({f.numpy().tobytes() for f in found}) > (9 if mirror else 5)


def test_batches_depend_on_the_seed_of_the_step_alone():
    problem = MemoryImages(Images(augment=True, mix=1.0, erase=0.5), colours())
    order = torch.arange(8)[None]
    random.seed(1)
    seen = []
    for seed in (0, 1, 0):
        torch.manual_seed(seed)
        seen.append(problem.batch(order, CPU))
        random.random()
    torch.testing.assert_close(seen[0], seen[2], rtol=0, atol=0)
    assert not torch.equal(seen[0][0], seen[1][0])


def test_mixing_leaves_other_generators_alone_and_mixes_labels_as_images():
    problem = MemoryImages(Images(mix=1.0, smoothing=0.1), colours())
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002
    before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    torch.manual_seed(0)
    x, y = problem.batch(torch.arange(9)[None], CPU)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # noqa: NPY002
    assert x.shape == (1, 8, 3, 8, 8)
    assert y.shape == (1, 8, 4)
    torch.testing.assert_close(y.sum(-1), torch.ones(1, 8))
    torch.testing.assert_close(y.min(), torch.tensor(0.1 / 4))
    logits = torch.randn(1, 8, 4)
    expected = -(y * logits.log_softmax(-1)).sum(-1).mean(1)
    torch.testing.assert_close(problem.loss(lambda _: logits, (x, y)), expected)


def test_images_are_reduced_once_and_enlarged_in_the_batch():
    small, large = (MemoryImages(Images(size=size), colours()) for size in (4, 16))
    assert small.train[0].shape[-1] == 4
    assert large.train[0].shape[-1] == 8
    for problem, side in ((small, 4), (large, 16)):
        x, _ = problem.batch(torch.zeros(1, 2, dtype=torch.int64), CPU)
        assert x.shape[-1] == side == problem.inputs[-1]


def test_the_score_is_that_of_the_labels(digits):
    """A model that knows the answer by the image."""
    x, y = digits.splits["test"]
    answers = {digits.normalised(p[None])[0].numpy().tobytes(): int(label) for p, label in zip(x, y, strict=True)}

    class Knows(torch.nn.Linear):
        def forward(self, seen):
            labels = torch.tensor([answers[p.numpy().tobytes()] for p in seen[0]])
            return 5.0 * functional.one_hot(labels, 10)[None]

    assert digits.score(Knows(1, 1), "test")["accuracy"] == 1.0


# ---------------------------------------------------------------------------------------------------------------- files


def parquet(path, label, images):
    from PIL import Image
    from pyarrow import Table
    from pyarrow import parquet as files

    rows = []
    for i, pixels in enumerate(images):
        content = io.BytesIO()
        Image.fromarray(pixels).save(content, "PNG")
        rows.append({"img": {"bytes": content.getvalue(), "path": None}, label: i, "coarse_label": 0})
    files.write_table(Table.from_pylist(rows), path)


def test_cifar100_from_parquet(tmp_path):
    x = colours(side=32)[0][:3]
    for part in ("train", "test"):
        parquet(tmp_path / f"{part}.parquet", "fine_label", x)
    found, labels, _, test_labels = cifar100_arrays(tmp_path)
    np.testing.assert_array_equal(found, x)
    assert labels.tolist() == test_labels.tolist() == [0, 1, 2]


def test_cifar100_says_what_is_missing(tmp_path):
    with pytest.raises(ActsmithError, match=r"cifar100: .* neither train.parquet .* nor torchvision's"):
        Images("cifar100").load(tmp_path)
    for part in ("train", "test"):
        parquet(tmp_path / f"{part}.parquet", "label", colours(side=32)[0][:1])
    with pytest.raises(ActsmithError, match=r"got columns img, label, coarse_label; expected img and fine_label"):
        cifar100_arrays(tmp_path)


@pytest.fixture
def folders(tmp_path):
    """ImageNet's folders at their smallest: 2 classes, 100 training images in each."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for split, count in (("train", 100), ("val", 3)):
        for label in range(2):
            place = tmp_path / "imagenet" / split / f"n{label}"
            place.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(place / f"{i}.JPEG")
    return tmp_path


def test_imagenet_needs_its_folders(tmp_path):
    with pytest.raises(ActsmithError, match=r"imagenet: .* expected one with train/CLASS/\*.JPEG"):
        Images("imagenet").load(tmp_path)


@pytest.mark.parametrize("workers", [0, 1])
def test_reading_ahead_changes_neither_images_nor_draws(folders, workers):
    problem = Images("imagenet", size=16, augment=True, workers=workers).load(folders)
    assert (problem.size, problem.inputs, problem.outputs) == (198, (3, 16, 16), 2)
    orders = [torch.tensor([[i, i + 50]]) for i in range(3)]

    def seeded(chosen):
        for step, order in chosen:
            torch.manual_seed(step)
            yield order

    ahead = [(*batch, torch.rand(1)) for batch in problem.batches(seeded(enumerate(orders)), CPU)]
    for step, order in enumerate(orders):
        ((x, y),) = problem.batches(seeded([(step, order)]), CPU)
        torch.testing.assert_close((x, y, torch.rand(1)), ahead[step], rtol=0, atol=0)
    assert ahead[0][0].shape == (1, 2, 3, 16, 16)
    assert [len(problem.readers[split]) for split in ("validation", "test")] == [2, 6]


def test_imagenet_is_scored_over_its_files(folders):
    problem = Images("imagenet", size=16, workers=0).load(folders)
    first = torch.nn.Linear(1, 1)
    first.forward = lambda x: torch.tensor([1.0, 0.0]).expand(1, x.shape[1], 2)
    scores = problem.score(first, "test")
    assert scores["accuracy"].item() == 0.5
    assert scores["loss"].item() == pytest.approx(np.log1p(np.e) - 0.5, rel=1e-6)


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
    model = config.build(get("crrelu"), (0,), digits)
    activations = [m for m in model.modules() if isinstance(m, Activation)]
    assert len(activations) == count or (count is None and activations)
    kinds = {type(m).__name__ for m in model.modules()}
    assert not kinds & {"ReLU", "GELU", "SiLU"}
    x, y = digits.batch(torch.arange(8)[None], CPU)
    out = model.eval()(x)
    assert out.shape == (1, 8, 10)
    functional.cross_entropy(out[0], y[0]).backward()
    assert all(a.eps.grad is not None and a.eps.grad != 0 for a in activations)


def test_one_seed_at_a_time(digits):
    with pytest.raises(ActsmithError, match="got 2 seeds; expected one"):
        Vit(dim=12, depth=1, heads=2).build(get("relu"), (0, 1), digits)


@pytest.mark.parametrize("name", ["gelu", "silu", "crrelu"])
def test_a_critical_network_starts_with_the_kernel_of_its_activation(name):
    """K of the second convolution's output, over many channels and inputs without borders."""
    config = Cnn(width=256, depth=2, stages=1)
    shape = type("Shape", (), {"inputs": (3, 9, 9), "outputs": 10})
    torch.manual_seed(0)
    network = config.build(get(name), (0,), shape).network
    start = initialisation(get(name), 2)
    h = network[:2](torch.randn(64, 3, 9, 9))[..., 1:-1, 1:-1]
    assert h.square().mean().item() == pytest.approx(start.K0, rel=0.1)


def test_a_residual_network_without_norm_keeps_its_variance(digits):
    torch.manual_seed(0)
    network = ResNet(width=32, blocks=6, norm=False).build(get("relu"), (0,), digits).network
    h = torch.randn(16, 1, 8, 8)
    sizes = [(h := layer(h)).square().mean().item() for layer in network[:-4]]
    assert sizes[-1] < 8 * sizes[1]


def test_what_does_not_fit_is_said(digits):
    with pytest.raises(ActsmithError, match=r"patch: got 3 for images of side 8"):
        Vit(patch=3).build(get("relu"), (0,), digits)
    with pytest.raises(ActsmithError, match=r"depth=2, stages=3"):
        Cnn(depth=2, stages=3).build(get("relu"), (0,), digits)
    with pytest.raises(ActsmithError, match=r"no model named 'vit_minute'"):
        Timm("vit_minute").build(get("relu"), (0,), digits)
    flat = type("Flat", (), {"inputs": (64,), "outputs": 10})
    with pytest.raises(ActsmithError, match=r"got inputs \(64,\); expected images"):
        ResNet().build(get("relu"), (0,), flat)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "tnt_s_legacy_patch16_224"]
)
def test_the_published_models_take_the_activation(name):
    shape = type("Shape", (), {"inputs": (3, 224, 224), "outputs": 10})
    model = Timm(name, drop_path=0.1).build(get("crrelu"), (0,), shape)
    count = sum(isinstance(m, Activation) for m in model.modules())
    assert count == (24 if name.startswith("tnt") else 12)
    assert model.eval()(torch.zeros(1, 1, 3, 224, 224)).shape == (1, 1, 10)


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
    model = TOKEN.build(get("crrelu"), (0,), taught)
    assert isinstance(model, DistilledToken)
    x, y = taught.batch(torch.arange(16)[None], CPU)
    heads = model(x)
    assert heads.shape == (1, 16, 2, 10)
    answers = taught.teacher(x[0]).argmax(-1)
    logs = heads[0].log_softmax(-1)
    smooth = functional.one_hot(y[0], 10) * 0.9 + 0.1 / 10
    label_part = -(smooth * logs[:, 0]).sum(-1).mean()
    teacher_part = -logs[torch.arange(16), 1, answers].mean()
    torch.testing.assert_close(taught.loss(model, (x, y)), ((label_part + teacher_part) / 2)[None])
    model.eval()
    torch.testing.assert_close(model(x)[0], heads[0].mean(1))


def test_a_model_without_the_token_cannot_be_distilled(taught):
    model = Vit(dim=12, depth=1, heads=2).build(get("relu"), (0,), taught)
    assert type(model) is Single
    with pytest.raises(ActsmithError, match=r"expected \(1, batch, 2, classes\)"):
        taught.loss(model, taught.batch(torch.arange(4)[None], CPU))


def test_a_teacher_that_cannot_be_had(monkeypatch):
    import timm

    def offline(*arguments, **options):
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(ActsmithError, match=r"teacher 'regnety_160.deit_in1k': cannot be had \(no route to host\)"):
        Distilled(Images("digits")).load(None)


def test_distilled_problems_are_scored_on_the_images(taught):
    model = TOKEN.build(get("relu"), (0,), taught).eval()
    assert isinstance(taught, Taught)
    assert taught.score(model, "test")["accuracy"] == taught.problem.score(model, "test")["accuracy"]
