"""Tasks by name."""

from __future__ import annotations

from pathlib import Path

from actsmith.tasks.task import Task

__all__ = ["find_task", "task_names"]


def task_names() -> list[str]:
    """The tasks that have a name."""
    raise NotImplementedError


def find_task(task: str | Task, data: str | Path | None = None) -> Task:
    """In the making."""
    raise NotImplementedError
