"""Images: splits, augmentation, batches, files."""

import io
import random

import numpy as np
import pytest
import torch
from torch.nn import functional

from actsmith.errors import ActsmithError
from actsmith.tasks.files import cifar100_arrays
from actsmith.tasks.images import Images, MemoryImages, _cropped
from actsmith.tasks.splits import Labelled, held_out

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def digits():
    return Images("digits").load(None)


def colours(count=40, side=8, classes=4):
    """Random colour images with labels: a tenth of them for validation, half as many again for testing."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    y = np.arange(count) % classes
    return held_out(x, y, Labelled(x[: count // 2], y[: count // 2]))


# ----------------------------------------------------------------------------------------------------- images in memory


def test_splits_share_no_image_and_every_class_has_its_share():
    x, y = np.zeros((400, 8, 8, 3), np.uint8), np.arange(400) % 4
    x[:, 0, 0, 0], x[:, 0, 0, 1] = np.arange(400) % 256, np.arange(400) // 256
    arrays = held_out(x, y, Labelled(x[:200], y[:200]))
    problem = MemoryImages(Images(train=200, validation=20, test=40), arrays)
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
    with pytest.raises(ActsmithError, match=r"validation: got 2000 images; expected 1 to 359"):
        Images("digits", validation=2000).load(None)


def test_an_unknown_data_set():
    with pytest.raises(ActsmithError, match=r"dataset: got 'svhn'; expected digits, "):
        Images("svhn").load(None)


def test_channels_have_mean_0_and_deviation_1():
    images = colours()
    images.train.x[..., 1] //= 4
    images.train.x[..., 2] = 7
    problem = MemoryImages(Images(), images)
    seen, _ = problem.batch(torch.arange(problem.size), CPU)
    assert seen.shape == (36, 3, 8, 8)
    assert seen.dtype == torch.float32
    torch.testing.assert_close(seen.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(seen.square().mean((0, 2, 3)), torch.tensor([1.0, 1.0, 0.0]), atol=1e-5, rtol=0)


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
    order = torch.arange(8)
    random.seed(1)
    assert problem.random
    assert not MemoryImages(Images(), colours()).random
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
    x, y = problem.batch(torch.arange(9), CPU)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # noqa: NPY002
    assert x.shape == (8, 3, 8, 8)
    assert y.shape == (8, 4)
    torch.testing.assert_close(y.sum(-1), torch.ones(8))
    torch.testing.assert_close(y.min(), torch.tensor(0.1 / 4))
    logits = torch.randn(8, 4)
    expected = -(y * logits.log_softmax(-1)).sum(-1).mean()
    torch.testing.assert_close(problem.loss(lambda _: logits, (x, y)), expected)


def test_images_are_reduced_once_and_enlarged_in_the_batch():
    small, large = (MemoryImages(Images(size=size), colours()) for size in (4, 16))
    assert small.train[0].shape[-1] == 4
    assert large.train[0].shape[-1] == 8
    for problem, side in ((small, 4), (large, 16)):
        x, _ = problem.batch(torch.zeros(2, dtype=torch.int64), CPU)
        assert x.shape[-1] == side == problem.inputs[-1]


def test_the_score_is_that_of_the_labels(digits):
    """A model that knows the answer by the image."""
    x, y = digits.splits["test"]
    answers = {digits.normalised(p[None])[0].numpy().tobytes(): int(label) for p, label in zip(x, y, strict=True)}

    class Knows(torch.nn.Linear):
        def forward(self, seen):
            labels = torch.tensor([answers[p.numpy().tobytes()] for p in seen])
            return 5.0 * functional.one_hot(labels, 10)

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
    x = colours(side=32).train.x[:3]
    for part in ("train", "test"):
        parquet(tmp_path / f"{part}.parquet", "fine_label", x)
    found, labels, _, test_labels = cifar100_arrays(tmp_path)
    np.testing.assert_array_equal(found, x)
    assert labels.tolist() == test_labels.tolist() == [0, 1, 2]


def test_cifar100_says_what_is_missing(tmp_path):
    with pytest.raises(ActsmithError, match=r"cifar100: .* neither train.parquet .* nor torchvision's"):
        Images("cifar100").load(tmp_path)
    for part in ("train", "test"):
        parquet(tmp_path / f"{part}.parquet", "label", colours(side=32).train.x[:1])
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
    orders = [torch.tensor([i, i + 50]) for i in range(3)]

    def seeded(chosen):
        for step, order in chosen:
            torch.manual_seed(step)
            yield order

    ahead = [(*batch, torch.rand(1)) for batch in problem.batches(seeded(enumerate(orders)), CPU)]
    for step, order in enumerate(orders):
        ((x, y),) = problem.batches(seeded([(step, order)]), CPU)
        torch.testing.assert_close((x, y, torch.rand(1)), ahead[step], rtol=0, atol=0)
    assert ahead[0][0].shape == (2, 3, 16, 16)
    assert [len(problem.readers[split]) for split in ("validation", "test")] == [2, 6]


def test_imagenet_is_scored_over_its_files(folders):
    problem = Images("imagenet", size=16, workers=0).load(folders)
    first = torch.nn.Linear(1, 1)
    first.forward = lambda x: torch.tensor([1.0, 0.0]).expand(len(x), 2)
    scores = problem.score(first, "test")
    assert scores["accuracy"].item() == 0.5
    assert scores["loss"].item() == pytest.approx(np.log1p(np.e) - 0.5, rel=1e-6)


def test_the_fingerprint_is_of_the_data(digits):
    assert digits.fingerprint == Images("digits").load(None).fingerprint
    assert digits.fingerprint != Images("digits", train=700).load(None).fingerprint
    images = colours()
    before = MemoryImages(Images(), images).fingerprint
    images.test.x[0, 0, 0, 0] ^= 1
    assert MemoryImages(Images(), images).fingerprint != before


def test_the_fingerprint_of_imagenet_sees_its_files(folders):
    load = lambda: Images("imagenet", size=16, workers=0).load(folders)  # noqa: E731
    before = load().fingerprint
    assert load().fingerprint == before
    (folders / "imagenet" / "val" / "n0" / "0.JPEG").rename(folders / "imagenet" / "val" / "n0" / "9.JPEG")
    assert load().fingerprint != before
    assert load().alone
