"""Images that a network learns as they are, and is tested on as it never saw them.

Rates and networks are chosen on clean images; the test split holds every test image three times:

    noisy     N(0, noise^2) added to every grey level of 0 to 255
    moved     by `shift` pixels in one of four directions, what is left empty black
    faded     towards a middle grey: contrast x + (1 - contrast) 64
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from actsmith.errors import ActsmithError
from actsmith.tasks.image_problem import ImageProblem
from actsmith.tasks.images import Images, MemoryImages
from actsmith.training.problem import Classification

__all__ = ["Corrupted"]

GREY = 64


@dataclass(frozen=True)
class Corrupted:
    """An image problem with a test split out of its distribution.

    Attributes:
        images: the problem; one that is read into memory.
        noise: deviation, in grey levels.
        shift: in pixels, smaller than the images' side.
        contrast: what is left of it, between 0 and 1.
        seed: of the noise and the directions: all networks are tested on the same images.
    """

    images: Images
    noise: float = 48.0
    shift: int = 1
    contrast: float = 0.4
    seed: int = 0
    metric = Classification.metric

    def load(self, data: Path | None) -> ImageProblem:
        """The problem, its test split three times as long.

        Raises:
            ActsmithError: images that are read from a folder as they are needed, or a value out of range.
        """
        problem = self.images.load(data)
        if not isinstance(problem, MemoryImages):
            raise ActsmithError(f"Corrupted: got {self.images.dataset}; expected images that fit into memory")
        side = problem.splits["test"][0].shape[-1]
        if self.noise < 0 or not 0 <= self.shift < side or not 0 <= self.contrast <= 1:
            raise ActsmithError(
                f"Corrupted: got noise={self.noise}, shift={self.shift}, contrast={self.contrast}; expected 0 or more, "
                f"0 to {side - 1}, 0 to 1"
            )
        x, y = problem.splits["test"]
        problem.splits["test"] = (self.of(x), y.repeat(3))
        return problem

    def of(self, pixels: Tensor) -> Tensor:
        """Bytes (n, channels, side, side) noisy, moved, faded: (3n, channels, side, side)."""
        generator = torch.Generator().manual_seed(self.seed)
        noisy = pixels + self.noise * torch.randn(pixels.shape, generator=generator)
        directions = torch.randint(4, (len(pixels),), generator=generator).tolist()
        moved = torch.stack([_moved(x, self.shift, d) for x, d in zip(pixels, directions, strict=True)])
        faded = self.contrast * pixels + (1 - self.contrast) * GREY
        return torch.cat([noisy, moved, faded]).clamp(0, 255).round().to(torch.uint8)


def _moved(image: Tensor, shift: int, direction: int) -> Tensor:
    """(channels, side, side) moved right, left, down or up."""
    side, (axis, sign) = image.shape[-1], ((-1, 1), (-1, -1), (-2, 1), (-2, -1))[direction]
    found = torch.zeros_like(image)
    kept = side - shift
    to, source = (shift, 0) if sign > 0 else (0, shift)
    found.narrow(axis, to, kept).copy_(image.narrow(axis, source, kept))
    return found
