"""Two processes that train together, on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist


@contextmanager
def together(rank: int, folder: str) -> Iterator[None]:
    """One of two processes that meet in a folder; neither leaves before the other is done, which would abort it."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    try:
        yield
        dist.barrier()
    finally:
        dist.destroy_process_group()
