"""Images of a test split that nothing was chosen on."""

import pytest
import torch

from actsmith.errors import ActsmithError
from actsmith.tasks.corrupted import Corrupted
from actsmith.tasks.images import Images


def test_only_the_test_split_is_another() -> None:
    images = Images("digits", train=64)
    clean, found = images.load(None), Corrupted(images).load(None)
    for a, b in zip(clean.train, found.train, strict=True):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(clean.splits["validation"][0], found.splits["validation"][0])
    (x, y), (x3, y3) = clean.splits["test"], found.splits["test"]
    assert torch.equal(y3, torch.cat([y, y, y]))
    noisy, moved, faded = x3.split(len(x))
    assert noisy.dtype == torch.uint8
    assert 30 < (noisy.float() - x)[(x > 60) & (x < 190)].std() < 60
    assert not torch.equal(moved, x)
    torch.testing.assert_close(faded.float(), 0.4 * x + 0.6 * 64, atol=0.51, rtol=0)
    assert clean.fingerprint != found.fingerprint
    assert torch.equal(x3, Corrupted(images).load(None).splits["test"][0])


def test_an_image_moves_by_the_shift_in_each_direction() -> None:
    pixels = torch.zeros(40, 1, 5, 5, dtype=torch.uint8)
    pixels[:, :, 2, 2] = 200
    moved = Corrupted(Images("digits"), noise=0, shift=2).of(pixels)[40:80]
    places = {tuple(image[0].nonzero()[0].tolist()) for image in moved}
    assert places == {(2, 4), (2, 0), (4, 2), (0, 2)}
    assert (moved.sum((1, 2, 3)) == 200).all()


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(ActsmithError, match="0 to 7"):
        Corrupted(Images("digits", train=64), shift=8).load(None)
