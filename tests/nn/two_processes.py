"""Two processes that train together, on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist


@contextmanager
def together(rank: int, folder: str) -> Iterator[None]:
    """One of two processes that meet in a folder, and end here once both are done.

    They end without the interpreter's teardown: there PyTorch now and then destroys a thread that still runs, which
    aborts a process whose work is done.
    """
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    yield
    dist.barrier()
    os._exit(0)
