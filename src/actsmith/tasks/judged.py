"""A task judged by another of its scores: TASK@SCORE, as digits/vit@loss.

The loss of a small network differs between seeds by half a percent, its accuracy on a thousand images by one or two
points: what the one tells apart the other cannot.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor, nn

from actsmith.errors import ActsmithError
from actsmith.tasks.task import ProblemConfig, Task
from actsmith.training.problem import Metric, Problem, Split

__all__ = ["Judged", "judged_by"]

HIGHER = ("accuracy",)
"""Scores of which more is better; of all others less is."""


@dataclass(frozen=True)
class Judged:
    """Another problem, scored as ever; choices are made and claims are stated by this one of its scores.

    Attributes:
        problem: the other.
        by: the name of the score.
    """

    problem: ProblemConfig
    by: str

    @property
    def metric(self) -> Metric:
        """The score."""
        return Metric(self.by, "higher" if self.by in HIGHER else "lower", share=self.by in HIGHER)

    def load(self, data: Path | None) -> Problem:
        """The other problem with this metric; that it has no such score is said when it is scored."""
        found = self.problem.load(data)
        found.metric, scored = self.metric, found.score

        def score(model: nn.Module, split: Split) -> Mapping[str, float | Tensor]:
            scores = scored(model, split)
            if self.by not in scores:
                raise ActsmithError(f"task: judged by {self.by!r}: no such score; expected {', '.join(scores)}")
            return scores

        found.score = score  # type: ignore[method-assign]
        return found


def judged_by(task: Task, score: str) -> Task:
    """The task under the name TASK@SCORE; the same task where that is its own score.

    Example:
        >>> from actsmith.tasks.named import find_task
        >>> judged_by(find_task("digits"), "loss").metric
        Metric(name='loss', better='lower', log=False, share=False)
    """
    if score == task.metric.name:
        return task
    return replace(task, name=f"{task.name}@{score}", problem=Judged(task.problem, score))
