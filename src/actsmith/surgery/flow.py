"""Where the outputs of activations go: into a linear map, a product, a divisor, a softmax.

Every call of a torch function hands what its inputs come from on to its outputs, up to the next linear map. What comes
through scalar arithmetic and changes of shape alone is the activation's own value ("direct"); sums, normalisation and
pooling blur it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

if TYPE_CHECKING:
    from actsmith.surgery.observe import Call, Place

__all__ = ["Flow"]

_PRODUCTS = frozenset(("mul", "__mul__", "__rmul__", "__imul__", "multiply", "addcmul", "lerp"))
_QUOTIENTS = frozenset(("div", "__truediv__", "true_divide", "divide", "__rtruediv__", "__itruediv__", "__rdiv__"))
_LAYERS = frozenset((
    "linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "bilinear",
))  # fmt: skip
_LINEAR = _LAYERS | frozenset((
    "matmul", "__matmul__", "__rmatmul__", "mm", "mv", "dot", "bmm", "addmm", "addbmm", "baddbmm", "einsum",
    "tensordot", "chain_matmul", "conv_tbc", "scaled_dot_product_attention", "multi_head_attention_forward", "lstm",
    "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell", "embedding_bag",
))  # fmt: skip
_SOFTMAX = frozenset((
    "softmax", "log_softmax", "softmin", "gumbel_softmax", "logsumexp", "cross_entropy", "nll_loss",
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "kl_div",
))  # fmt: skip
_SCALES = frozenset(("exp", "log", "log1p", "rsqrt", "sqrt", "reciprocal", "exp2", "log2"))
_ARITHMETIC = frozenset((
    "add", "__add__", "__radd__", "__iadd__", "sub", "subtract", "__sub__", "__rsub__", "rsub", "__isub__", "neg",
    "__neg__", "negative", *_PRODUCTS, *_QUOTIENTS,
))  # fmt: skip
_SHAPES = frozenset((
    "view", "view_as", "reshape", "reshape_as", "unsqueeze", "squeeze", "expand", "expand_as", "flatten", "unflatten",
    "permute", "transpose", "t", "movedim", "swapaxes", "dropout", "dropout1d", "dropout2d", "dropout3d",
    "alpha_dropout", "feature_alpha_dropout", "__getitem__", "contiguous", "clone", "to", "type", "type_as", "float",
    "half", "bfloat16", "double", "interpolate", "upsample", "repeat", "repeat_interleave", "tile", "roll", "chunk",
    "split", "unbind", "narrow", "select", "index_select", "clamp", "clip", "identity", "pad", "pixel_shuffle",
    "broadcast_to",
))  # fmt: skip

Tags = dict["Place", bool]
"""place -> whether what is held is its own output (direct)."""


class Flow:
    """Follows outputs and notes in the calls where they go.

    Args:
        call_of: the call of a place.
    """

    def __init__(self, call_of: Callable[[Place], Call]) -> None:
        self.call_of = call_of
        self._tags: Any = WeakTensorKeyDictionary()

    def output(self, place: Place, y: Tensor, x: Tensor | None) -> None:
        """y is an activation's output; what its input came from goes on, blurred."""
        before = {} if x is None else dict.fromkeys(self._tags.get(x, {}), False)
        self._tags[y] = {**before, place: True}

    def see(self, name: str, arguments: tuple[Any, ...], keywords: dict[str, Any], result: Any) -> None:
        """A function other than an activation has run."""
        tensors = list(_tensors((*arguments, *keywords.values())))
        tagged = [t for t in tensors if t in self._tags]
        if not tagged:
            return
        if name == "__setitem__":
            self._tags[arguments[0]] = {p: False for t in tagged for p in self._tags[t]}
            return
        if name in _LINEAR:
            self._linear(name, arguments, tagged)
            kept: Tags = {}
        elif name in _SOFTMAX or name in _SCALES:
            self._mark(tagged, "scores" if name in _SOFTMAX else "scales", bounded=name in _SCALES)
            kept = {} if name in _SOFTMAX else self._blurred(tagged)
        elif name in _PRODUCTS and len(tensors) > 1:
            kept = self._product(name, tensors)
        elif name in _QUOTIENTS and len(tensors) > 1:
            kept = self._quotient(name, arguments)
        elif name in _SHAPES or (name in _ARITHMETIC and all(t.numel() == 1 for t in tensors if t not in self._tags)):
            kept = self._tags[tagged[0]] if len(tagged) == 1 else self._blurred(tagged)
        else:
            kept = self._blurred(tagged)
        for y in _tensors((result,)):
            if y.is_floating_point():
                self._tags[y] = dict(kept)

    def _linear(self, name: str, arguments: tuple[Any, ...], tagged: list[Tensor]) -> None:
        weight = arguments[1] if name in _LAYERS and len(arguments) > 1 else None
        self._mark([t for t in tagged if t is not weight], "fed")
        if weight is not None:
            self._mark([t for t in tagged if t is weight], "weighs", direct=True)

    def _mark(self, tagged: Iterable[Tensor], what: str, direct: bool = False, bounded: bool = False) -> None:
        """`direct`: only where its own value goes there; `bounded`: and it is bounded, or positive."""
        for t in tagged:
            for place, own in self._tags[t].items():
                if (own or not (direct or bounded)) and (not bounded or self.call_of(place).what.bounded):
                    setattr(self.call_of(place), what, True)

    def _blurred(self, tagged: Iterable[Tensor]) -> Tags:
        return {p: False for t in tagged for p in self._tags.get(t, {})}

    def _product(self, name: str, tensors: list[Tensor]) -> Tags:
        """Of two tensors: the smaller scales the larger; of one size, what is bounded gates what is not."""
        first, second = (tensors[0], tensors[-1]) if name == "lerp" else tensors[-2:]
        kept: Tags = {}
        if first is second:
            return self._blurred([first])
        for y, other in ((first, second), (second, first)):
            gating = self._bounded(other)
            for place, own in self._tags.get(y, {}).items():
                call = self.call_of(place)
                if own and other.numel() > y.numel():
                    call.broadcast = True
                elif own and other.shape == y.shape and not isinstance(other, nn.Parameter):
                    if gating and not call.what.bounded:
                        kept[place] = False
                    else:
                        call.gates = True
                else:
                    kept[place] = own and isinstance(other, nn.Parameter)
        return kept

    def _bounded(self, y: Tensor) -> bool:
        return any(own and self.call_of(p).what.bounded for p, own in self._tags.get(y, {}).items())

    def _quotient(self, name: str, arguments: tuple[Any, ...]) -> Tags:
        over, under = (arguments[1], arguments[0]) if name.startswith("__r") else (arguments[0], arguments[1])
        if isinstance(under, Tensor) and under in self._tags:
            self._mark([under], "scales", direct=True)
        return self._blurred([over]) if isinstance(over, Tensor) else {}


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)
