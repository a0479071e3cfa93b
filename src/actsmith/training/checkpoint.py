"""The training in flight, in one file that holds the old state or the new whenever the process ends."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

__all__ = ["Checkpoint"]


@dataclass
class Checkpoint:
    """State of one training, written at most every `seconds`.

    Attributes:
        path: the file; its folder is made on the first write.
        key: of the training, kept inside, so that no other training takes it up.
    """

    path: Path
    key: str
    seconds: float = 20.0
    last: float = field(default_factory=time.monotonic)

    @classmethod
    def at(cls, folder: Path, key: str, seconds: float = 20.0) -> Checkpoint:
        """The checkpoint of the training `key` in a run folder."""
        name = hashlib.sha256(key.encode()).hexdigest()[:16]
        return cls(folder / "checkpoints" / f"{name}.pt", key, seconds)

    def due(self) -> bool:
        """Whether `seconds` have passed since the last write."""
        return time.monotonic() - self.last >= self.seconds

    def save(self, state: dict[str, Any]) -> None:
        """Write whole or not at all; on the disk when this returns."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        try:
            with temporary.open("wb") as file:
                try:
                    torch.save({"key": self.key, **state}, file)
                except RuntimeError:  # torch's own, where the disk is full: ask the system what it is
                    file.write(bytes(1 << 20))
                    file.flush()
                    raise
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.path)
        finally:
            temporary.unlink(missing_ok=True)
        self.last = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """What was saved last, None where nothing was."""
        if not self.path.is_file():
            return None
        state: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
        return state if state["key"] == self.key else None

    def remove(self) -> None:
        """The training is finished."""
        self.path.unlink(missing_ok=True)
