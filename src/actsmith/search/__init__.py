"""Finding a better activation for a task: the main job.

This package is callable: `actsmith.search(task, ...)` is `actsmith.search.run.search(task, ...)`.
"""

from __future__ import annotations

import sys
import types
from typing import Any


class _CallableModule(types.ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from actsmith.search.run import search

        return search(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule
