"""Our modules under torch.fx: one call of the module in the graph, as of torch's own activations.

Which modules a tracer enters is for the tracer to say, and most enter whatever is not of torch.nn. So the module
itself, when it meets a proxy in the place of a tensor, writes its own call.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, fx, nn

__all__ = ["recorded"]


def recorded(module: nn.Module, x: Any) -> Tensor | None:
    """The proxy of module(x) in the graph that is being traced; None where x is no proxy of a tracer of modules."""
    if not isinstance(x, fx.Proxy) or not isinstance(x.tracer, fx.Tracer):
        return None
    proxy: Any = x.tracer.create_proxy("call_module", x.tracer.path_of_module(module), (x,), {})
    return proxy  # type: ignore[no-any-return]
