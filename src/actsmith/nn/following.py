"""Which activation follows each Linear and Conv layer of a model.

Where torch.fx can trace the model, the output of a layer is followed through its graph as an expression in x: through
everything elementwise (so that x*sigmoid(x), written out, is found as such), through what only moves or selects
elements, through normalisations, up to whatever mixes elements: there the expression is the activation. Elsewhere one
forward pass is watched, and the activation that is called next counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import sympy as sp
import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode

from actsmith.errors import ActsmithError
from actsmith.formula.formula import Formula
from actsmith.formula.parse import X
from actsmith.nn.activation import Activation
from actsmith.nn.known import formula_of_call, formula_of_module, is_known

__all__ = ["LAYERS", "Following", "activations_that_follow"]

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)

_NORM_FUNCTIONS = {"batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm", "local_response_norm"}
_MOVES = {
    "view", "reshape", "flatten", "unflatten", "permute", "transpose", "contiguous", "squeeze", "unsqueeze", "clone",
    "dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout", "to", "float", "double",
    "type_as", "expand", "movedim", "swapaxes", "swapdims", "t", "getitem", "chunk", "split", "unbind", "cat", "stack",
    "concat", "pixel_shuffle", "pixel_unshuffle", "max_pool1d", "max_pool2d", "max_pool3d", "boolean_dispatch",
    "adaptive_max_pool2d", "roll", "pad", "repeat", "narrow", "select",
}  # fmt: skip
_MOVING_MODULES = (
    nn.Identity, nn.Flatten, nn.Unflatten, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout,
    nn.FeatureAlphaDropout, nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d,
    nn.PixelShuffle, nn.PixelUnshuffle, nn.ZeroPad2d, nn.ReflectionPad2d,
)  # fmt: skip
_BINARY = {
    "add": sp.Add, "iadd": sp.Add, "mul": sp.Mul, "imul": sp.Mul, "multiply": sp.Mul, "pow": sp.Pow,
    "sub": lambda u, v: u - v, "isub": lambda u, v: u - v, "truediv": lambda u, v: u / v, "div": lambda u, v: u / v,
    "itruediv": lambda u, v: u / v,
}  # fmt: skip
_SUMS = {"add", "iadd"}
_PRODUCTS = {"mul", "imul", "multiply"}


@dataclass
class Following:
    """What comes after a layer.

    Attributes:
        path: the layer's.
        module: the layer.
        formula: the activation; None where none follows.
        several: names of the activations, where more than one follows.
        norm: the kind of normalisation between the layer and the activation, or "".
        gate: whether the activation's output multiplies another signal.
        residual: whether the output enters a residual sum before the activation.
        normalised_block: whether the layer is inside a residual block with a normalisation.
        reached: whether the model's forward pass calls the layer.
    """

    path: str
    module: nn.Module
    formula: Formula | None = None
    several: tuple[str, ...] = ()
    norm: str = ""
    gate: bool = False
    residual: bool = False
    normalised_block: bool = False
    reached: bool = False


def activations_that_follow(model: nn.Module, example: Any = None) -> tuple[list[Following], str]:
    """Every Linear and Conv layer of `model`, in its order, with what follows; and how that was found.

    Args:
        example: an input for one forward pass, where torch.fx cannot trace the model: a tensor, a tuple of positional
            arguments or a dict of keyword arguments.

    Raises:
        ActsmithError: torch.fx cannot trace the model and there is no example.
    """
    found = {path: Following(path, m) for path, m in model.named_modules() if isinstance(m, LAYERS)}
    try:
        graph = _Tracer().trace(model)
    except Exception as error:  # what a model's forward raises under symbolic tracing can be anything
        if example is None:
            reason = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
            raise ActsmithError(
                f"critical_init_: torch.fx cannot trace {type(model).__name__} ({reason}); give example=, an input for "
                "one forward pass, or f=, the activation of every layer"
            ) from None
        _watch(model, example, found)
        return list(found.values()), "watched"
    _follow(model, graph, found)
    return list(found.values()), "traced"


# ------------------------------------------------------------------------------------------------ by tracing


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        leaf = isinstance(m, (*LAYERS, Activation, *_MOVING_MODULES)) or _is_norm(m) or is_known(m)
        return leaf or super().is_leaf_module(m, module_qualified_name)


def _is_norm(module: nn.Module) -> bool:
    return any("Norm" in kind.__name__ for kind in type(module).__mro__) and not any(module.children())


def _follow(model: nn.Module, graph: fx.Graph, found: dict[str, Following]) -> None:
    modules = dict(model.named_modules())
    names = {id(m): f.path for f in found.values() for m in [f.module]}
    blocks = _normalised_blocks(graph, modules)
    for node in graph.nodes:
        module = modules.get(str(node.target)) if node.op == "call_module" else None
        if module is not None and isinstance(module, LAYERS):
            following = found[names[id(module)]]
            following.reached = True
            following.normalised_block |= node in blocks
            _expressions(node, modules, following)


@dataclass
class _Walk:
    """Nodes that are functions of one layer's output: node -> (expression in x, the formula where it is one alone)."""

    values: dict[fx.Node, tuple[sp.Expr, Formula | None]]
    ends: dict[str, Formula] = field(default_factory=dict)


def _expressions(start: fx.Node, modules: Mapping[str, nn.Module], following: Following) -> None:
    walk = _Walk({start: (X, None)})
    node: fx.Node = start.next
    while node.op != "root":
        inputs = [n for n in node.all_input_nodes if n in walk.values]
        if inputs:
            value = _step(node, inputs, walk.values, modules, following)
            if value is not None:
                walk.values[node] = value
            for source in inputs if value is None else ():
                expression, formula = walk.values[source]
                if expression != X:
                    following.gate |= _name(node) in _PRODUCTS
                    walk.ends[str(expression)] = formula or Formula(expression)
        node = node.next
    if len(walk.ends) == 1 and following.formula is None:
        following.formula = next(iter(walk.ends.values()))
    elif walk.ends:
        names = {f.name for f in walk.ends.values()} | ({following.formula.name} if following.formula else set())
        following.several = tuple(sorted(names)) if len(names) > 1 else ()


def _step(
    node: fx.Node,
    inputs: list[fx.Node],
    values: Mapping[fx.Node, tuple[sp.Expr, Formula | None]],
    modules: Mapping[str, nn.Module],
    following: Following,
) -> tuple[sp.Expr, Formula | None] | None:
    """The value of a node that is a function of the layer's output elementwise; None where its inputs end there."""
    expression, formula = values[inputs[0]]
    name = _name(node)
    module = modules[str(node.target)] if node.op == "call_module" else None
    norm = _norm_name(node, module)
    if norm and expression == X:
        following.norm = norm
        return expression, formula
    if isinstance(module, _MOVING_MODULES) or (name in _MOVES and len(inputs) == 1):
        return expression, formula
    if name in _BINARY and len(node.args) >= 2:
        return _binary(name, node, values, following)
    own = None
    if module is not None:
        own = formula_of_module(module)
    elif node.args and node.args[0] is inputs[0]:
        own = formula_of_call(name, node.args[1:], dict(node.kwargs))
    return None if own is None else _applied(own, expression)


def _binary(
    name: str, node: fx.Node, values: Mapping[fx.Node, tuple[sp.Expr, Formula | None]], following: Following
) -> tuple[sp.Expr, Formula | None] | None:
    """An operation between functions of x and numbers; a sum of x itself with another signal is a residual sum."""
    terms: list[sp.Expr] = []
    for argument in node.args[:2]:
        if isinstance(argument, fx.Node) and argument in values:
            terms.append(values[argument][0])
        elif isinstance(argument, int | float):
            terms.append(sp.sympify(argument))
        elif name in _SUMS and X in [values[n][0] for n in node.all_input_nodes if n in values]:
            following.residual = True
            return X, None
        else:
            return None
    return _BINARY[name](*terms), None


def _applied(own: Formula, expression: sp.Expr) -> tuple[sp.Expr, Formula | None]:
    return (own.bound, own) if expression == X else (own.bound.subs(X, expression), None)


def _name(node: fx.Node) -> str:
    if node.op == "call_method":
        return str(node.target).strip("_")
    return str(getattr(node.target, "__name__", "")).strip("_") if node.op == "call_function" else ""


def _norm_name(node: fx.Node, module: nn.Module | None) -> str:
    """The kind of normalisation that a node is, or ""."""
    if module is not None:
        return type(module).__name__ if _is_norm(module) else ""
    return _name(node) if _name(node) in _NORM_FUNCTIONS else ""


def _normalised_blocks(graph: fx.Graph, modules: Mapping[str, nn.Module]) -> set[fx.Node]:
    """The nodes on one branch alone of a sum of two branches of one signal, a normalisation on one or right after."""

    def normalises(node: fx.Node) -> bool:
        return bool(_norm_name(node, modules.get(str(node.target)) if node.op == "call_module" else None))

    before: dict[fx.Node, set[fx.Node]] = {}
    inside: set[fx.Node] = set()
    for node in graph.nodes:
        before[node] = {node}.union(*(before[n] for n in node.all_input_nodes))
        pair = [a for a in node.args if isinstance(a, fx.Node)]
        if _name(node) not in _SUMS or len(pair) != 2:
            continue
        left, right = before[pair[0]], before[pair[1]]
        branches = left ^ right
        if left & right and (any(normalises(n) for n in branches) or any(normalises(n) for n in node.users)):
            inside |= branches
    return inside


# ------------------------------------------------------------------------------------------------ by watching


class _Watcher(TorchFunctionMode):
    """The calls of layers, activations and normalisations in their order, and the modules whose own forward adds."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[tuple[str, Any]] = []
        self.active: list[str] = []
        self.adding: set[str] = set()
        self.silent = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(getattr(func, "__name__", "")).strip("_")
        if not self.silent:
            formula = formula_of_call(name, args[1:], kwargs) if name not in ("neg", "sign", "abs", "sqrt") else None
            tensors = [a for a in args[:2] if isinstance(a, Tensor)]
            if formula is not None:
                self.events.append(("activation", formula))
            elif name in _NORM_FUNCTIONS:
                self.events.append(("norm", name))
            elif name in _SUMS and len(tensors) == 2 and tensors[0].shape == tensors[1].shape:
                self.events.append(("sum", None))
                self.adding.add(self.active[-1] if self.active else "")
        self.silent += 1
        try:
            return func(*args, **(kwargs or {}))
        finally:
            self.silent -= 1


def _watch(model: nn.Module, example: Any, found: dict[str, Following]) -> None:
    watcher = _Watcher()
    handles = []
    for path, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(_entering(watcher, path, module)))
        handles.append(module.register_forward_hook(_leaving(watcher, module), always_call=True))
    training = model.training
    try:
        with torch.no_grad(), watcher:
            model.eval()
            if isinstance(example, Mapping):
                model(**example)
            else:
                model(*example) if isinstance(example, tuple) else model(example)
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    _read(watcher, found)
    normed = {path for path, module in model.named_modules() if any(_is_norm(m) for m in module.modules())}
    blocks = watcher.adding & normed
    for following in found.values():
        parts = following.path.split(".")
        following.normalised_block = any(".".join(parts[:k]) in blocks for k in range(len(parts)))


def _entering(watcher: _Watcher, path: str, module: nn.Module) -> Any:
    def hook(*_: Any) -> None:
        watcher.active.append(path)
        if isinstance(module, LAYERS):
            watcher.events.append(("layer", path))
        own = formula_of_module(module) if not watcher.silent else None
        if own is not None:
            watcher.events.append(("activation", own))
        watcher.silent += is_known(module)

    return hook


def _leaving(watcher: _Watcher, module: nn.Module) -> Any:
    def hook(*_: Any) -> None:
        watcher.active.pop()
        watcher.silent -= is_known(module)

    return hook


def _read(watcher: _Watcher, found: dict[str, Following]) -> None:
    """For each call of a layer what comes before the next layer."""
    current: Following | None = None
    waiting = False
    for kind, value in watcher.events:
        if kind == "layer":
            current, waiting = found.get(value), True
            if current is not None:
                current.reached = True
        elif current is not None and waiting:
            if kind == "activation":
                waiting = False
                names = {*current.several, value.name, (current.formula or value).name}
                current.several = tuple(sorted(names)) if len(names) > 1 else ()
                current.formula = current.formula or value
            elif kind == "norm":
                current.norm = value
            else:
                current.residual = True
