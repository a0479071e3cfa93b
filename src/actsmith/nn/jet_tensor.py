"""`Jet`: a tensor with its derivatives, which an ordinary model computes with.

It stands where a tensor stands: torch's functions, operators and methods reach the rules in `actsmith.nn.jet_rules`
through `__torch_function__`. All slots lie in one tensor, in dimension 0, so that a linear layer is one matrix product.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from actsmith.nn.jet_algebra import Slots, spec_of

__all__ = ["Jet"]


class Jet:
    """A value and its derivatives.

    Args:
        packed: (slots, *shape), slot 0 the value.
        slots: what they are.
    """

    def __init__(self, packed: Tensor, slots: Slots) -> None:
        self.packed, self.slots = packed, slots

    rules: ClassVar[Callable[[Callable[..., Any], tuple[Any, ...], Mapping[str, Any]], Any] | None] = None
    """What `actsmith.nn.jet_rules` says; it makes jets, and so it sets this."""

    @classmethod
    def constant(cls, value: Tensor, slots: Slots) -> Jet:
        """With no derivatives."""
        rest = len(slots.multis) + len(slots.sums) - 1
        return cls(torch.cat([value[None], value.new_zeros((rest, *value.shape))]), slots)

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        assert cls.rules is not None
        return cls.rules(func, args, kwargs or {})

    @property
    def value(self) -> Tensor:
        """Slot 0."""
        return self.packed[0]

    @property
    def shape(self) -> torch.Size:
        """Of the value."""
        return self.packed.shape[1:]

    @property
    def ndim(self) -> int:
        """Of the value."""
        return self.packed.ndim - 1

    @property
    def dtype(self) -> torch.dtype:
        """Of all slots."""
        return self.packed.dtype

    @property
    def device(self) -> torch.device:
        """Of all slots."""
        return self.packed.device

    @property
    def requires_grad(self) -> bool:
        """Of all slots."""
        return self.packed.requires_grad

    @property
    def T(self) -> Any:
        """Transposed."""
        return self.t()

    @property
    def mT(self) -> Any:
        """The last two dimensions transposed."""
        return self.transpose(-2, -1)

    is_sparse = is_quantized = is_nested = False

    def size(self, dim: int | None = None) -> Any:
        """As a tensor's."""
        return self.shape if dim is None else self.shape[dim]

    def dim(self) -> int:
        """As a tensor's."""
        return self.ndim

    def numel(self) -> int:
        """As a tensor's."""
        return self.shape.numel()

    def is_floating_point(self) -> bool:
        """As a tensor's."""
        return self.packed.is_floating_point()

    def through(self, derivative: Callable[[int], Tensor]) -> Jet:
        """f of it, from the derivative of order k of f at the value, an elementwise function (Faa di Bruno)."""
        rows = []
        results = spec_of(self.slots, 0).results
        at = {order: derivative(order) for order in {term.order[0] for result in results for term in result.terms}}
        for result in results:
            total: Any = 0
            for term in result.terms:
                part = at[term.order[0]]
                for weight in term.weights:
                    part = part * self.packed[weight]
                total = total + (part if term.count == 1 else term.count * part)
            rows.append(total)
        return Jet(torch.stack(rows), self.slots)

    def __len__(self) -> int:
        return self.shape[0]

    def __getattr__(self, name: str) -> Any:
        method = getattr(Tensor, name, None)
        if name.startswith("__") or not callable(method):
            raise AttributeError(f"a jet has no attribute {name!r}")

        def call(*args: Any, **kwargs: Any) -> Any:
            return self.__torch_function__(method, (Jet,), (self, *args), kwargs)

        return call

    def __getitem__(self, index: Any) -> Any:
        return self.__torch_function__(Tensor.__getitem__, (Jet,), (self, index))

    def __iter__(self) -> Any:
        return iter(self[i] for i in range(len(self)))

    def __neg__(self) -> Any:
        return self.__torch_function__(torch.neg, (Jet,), (self,))

    def __abs__(self) -> Any:
        return self.__torch_function__(torch.abs, (Jet,), (self,))

    def __repr__(self) -> str:
        return f"Jet(shape={tuple(self.shape)}, derivatives={self.slots.multis[1:]}, sums={len(self.slots.sums)})"


def _operator(name: str, *, swapped: bool = False) -> Callable[[Jet, Any], Any]:
    function = getattr(torch, name)

    def apply(self: Jet, other: Any) -> Any:
        pair = (other, self) if swapped else (self, other)
        return self.__torch_function__(function, (Jet,), pair)

    return apply


for _name, _function in (
    ("add", "add"), ("sub", "sub"), ("mul", "mul"), ("truediv", "div"), ("pow", "pow"), ("matmul", "matmul"),
):  # fmt: skip
    setattr(Jet, f"__{_name}__", _operator(_function))
    setattr(Jet, f"__r{_name}__", _operator(_function, swapped=True))
for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    setattr(Jet, f"__{_name}__", _operator(_name))
