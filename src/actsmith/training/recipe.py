"""How long a network trains, and how its learning rate goes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import cos, pi

from actsmith.errors import ActsmithError

__all__ = ["Recipe", "warm_cosine"]


@dataclass(frozen=True)
class Recipe:
    """A training budget: AdamW with a rate that rises linearly and falls as a cosine, then L-BFGS where asked.

    Attributes:
        epochs, batch: passes over the training examples, examples in a step over all devices (at most the size).
        weight_decay: decoupled; of weights alone, not of biases, normalisations and activations.
        warm_up: share of the steps over which the rate rises.
        clip: largest norm of a net's gradient, where given.
        lbfgs: steps of 20 L-BFGS iterations on the whole training set after the epochs.
        score_every: epochs between validation scores; 0 scores once, at the end.
        drawn: training examples that each seed draws for itself out of the problem's, so that a difference between
            activations is not one of a single small training set; None takes all.
        score_at: shares of the epochs after which there are validation scores, too. They change no training, so they
            are no part of what tells trainings apart.

    Raises:
        ActsmithError: a budget that trains nothing, or a share outside of [0, 1].
    """

    epochs: int
    batch: int
    weight_decay: float = 0.01
    warm_up: float = 0.1
    clip: float | None = None
    lbfgs: int = 0
    score_every: int = 0
    drawn: int | None = field(default=None, metadata={"added": True})
    score_at: tuple[float, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 1 or self.lbfgs < 0:
            raise ActsmithError(
                f"recipe: got epochs={self.epochs}, batch={self.batch}, lbfgs={self.lbfgs}; expected 1, 1, 0 or more"
            )
        if not 0 <= self.warm_up <= 1 or self.weight_decay < 0 or (self.clip is not None and not self.clip > 0):
            raise ActsmithError(
                f"recipe: got warm_up={self.warm_up}, weight_decay={self.weight_decay}, clip={self.clip}; expected a "
                "share, 0 or more, and a positive norm or None"
            )
        if self.drawn is not None and self.drawn < 1:
            raise ActsmithError(f"recipe: drawn: got {self.drawn}; expected 1 or more training examples, or None")
        if not all(0 < share <= 1 for share in self.score_at):
            raise ActsmithError(f"recipe: score_at: got {self.score_at}; expected shares of the epochs, above 0 to 1")

    def scored(self, epoch: int) -> bool:
        """Whether there is a validation score after this epoch, 1, 2, ...

        Example:
            >>> recipe = Recipe(8, 32, score_at=(0.1, 0.5))
            >>> [epoch for epoch in range(1, 9) if recipe.scored(epoch)]
            [1, 4]
        """
        marks = {max(round(share * self.epochs), 1) for share in self.score_at}
        return epoch in marks or (self.score_every > 0 and epoch % self.score_every == 0)

    def shortened(self, share: float) -> Recipe:
        """The same for a share of the epochs and L-BFGS steps, one epoch at least."""
        return replace(self, epochs=max(round(share * self.epochs), 1), lbfgs=round(share * self.lbfgs))


def warm_cosine(step: int, total: int, warm: int) -> float:
    """The factor at step 1, 2, ..., total: rises linearly over the first `warm`, falls as a cosine to zero.

    Example:
        >>> [round(warm_cosine(t, 5, 1), 3) for t in range(1, 6)]
        [1.0, 0.854, 0.5, 0.146, 0.0]
    """
    rise = min(step / max(warm, 1), 1.0)
    progress = max(step - warm, 0) / max(total - warm, 1)
    return rise * 0.5 * (1 + cos(pi * progress))
