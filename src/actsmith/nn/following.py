"""Which activation follows each Linear and Conv layer of a model.

Where torch.fx can trace the model, the output of a layer is followed through its graph as an expression in x: through
everything elementwise (so that x*sigmoid(x), written out, is found as such), through what only moves or selects
elements, through normalisations, up to whatever mixes elements: there the expression is the activation, unless it is
affine in x (a scale alone is no activation). Elsewhere one forward pass is watched: what comes from a layer's output is
followed from call to call, and the first activation that takes it counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import sympy as sp
import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from actsmith.errors import ActsmithError
from actsmith.formula.formula import Formula
from actsmith.formula.parse import X
from actsmith.nn.activation import Activation
from actsmith.nn.known import formula_of_call, formula_of_module, is_known
from actsmith.nn.private import inside_compiled, is_compiled

__all__ = ["TRANSPOSED", "Following", "activations_that_follow", "is_layer", "is_turned"]

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)

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
        after_norm: the kind of normalisation that gives the layer its input, or "".
        gate: whether the activation's output multiplies another signal.
        residual: whether the output enters a residual sum before the activation.
        normalised_block: whether the layer is inside a residual block with a normalisation.
        reached: whether the model's forward pass calls the layer.
        feeds: whether what comes from the layer goes on to another one.
    """

    path: str
    module: nn.Module
    formula: Formula | None = None
    several: tuple[str, ...] = ()
    norm: str = ""
    after_norm: str = ""
    gate: bool = False
    residual: bool = False
    normalised_block: bool = False
    reached: bool = False
    feeds: bool = False


def is_turned(module: object) -> bool:
    """Whether it is transformers' Conv1D (GPT-2), a Linear whose weight is (in, out)."""
    return any(k.__name__ == "Conv1D" and k.__module__ == "transformers.pytorch_utils" for k in type(module).__mro__)


def is_layer(module: object, transposed: bool = False) -> bool:
    """Whether it is a Linear or Conv layer, or a transposed convolution where these count."""
    return isinstance(module, (*_LAYERS, *TRANSPOSED) if transposed else _LAYERS) or is_turned(module)


def activations_that_follow(model: nn.Module, example: Any = None) -> tuple[list[Following], str]:
    """Every Linear, Conv and ConvTranspose layer of `model`, in its order, with what follows; and how that was found.

    Args:
        example: an input for one forward pass, where torch.fx cannot trace the model: a tensor, a tuple of positional
            arguments or a dict of keyword arguments.

    Raises:
        ActsmithError: torch.fx cannot trace the model and there is no example.
    """
    found = {path: Following(path, m) for path, m in model.named_modules() if is_layer(m, transposed=True)}
    attributes = set(vars(model))
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
    finally:
        for name in set(vars(model)) - attributes:  # constants that torch.fx met; proxies that the forward kept
            delattr(model, name)
    _follow(model, graph, found)
    return list(found.values()), "traced"


# ------------------------------------------------------------------------------------------------ by tracing


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        leaf = isinstance(m, (Activation, *_MOVING_MODULES)) or is_layer(m, transposed=True)
        leaf = leaf or _is_norm(m) or is_known(m)
        return leaf or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        """torch.fx traces nothing that torch.compile made: the plain forward is called in its place."""
        inner = inside_compiled(m)
        return super().call_module(inner, inner.forward if is_compiled(m) else forward, args, kwargs)

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> tuple[Any, list[Any]]:
        """torch.fx calls the forward of the root's class; an instance may have its own, as after `acts.replace_`."""
        function, arguments = super().create_args_for_root(root_fn, is_module, concrete_args)
        own = vars(self.root).get("forward")
        return (function if own is None else lambda _, *inputs: own(*inputs)), arguments


def _is_norm(module: nn.Module) -> bool:
    return any("Norm" in kind.__name__ for kind in type(module).__mro__) and not any(module.children())


def _follow(model: nn.Module, graph: fx.Graph, found: dict[str, Following]) -> None:
    modules = dict(model.named_modules())
    names = {id(m): f.path for f in found.values() for m in [f.module]}
    before: dict[fx.Node, set[fx.Node]] = {}
    for node in graph.nodes:
        before[node] = {node}.union(*(before[n] for n in node.all_input_nodes))
    blocks = _normalised_blocks(graph, modules, before)
    layers = [n for n in graph.nodes if n.op == "call_module" and is_layer(modules.get(str(n.target)), transposed=True)]
    for node in layers:
        following = found[names[id(modules[str(node.target)])]]
        following.reached = True
        following.normalised_block |= node in blocks
        following.feeds |= any(node in before[other] for other in layers if other is not node)
        following.after_norm = following.after_norm or _norm_before(node, modules)
        _expressions(node, modules, following)


def _norm_before(node: fx.Node, modules: Mapping[str, nn.Module]) -> str:
    """The kind of normalisation that gives a layer its input, moved or selected at most, or ""."""
    source = node.args[0] if node.args else None
    while isinstance(source, fx.Node):
        module = modules[str(source.target)] if source.op == "call_module" else None
        if norm := _norm_name(source, module):
            return norm
        if not isinstance(module, _MOVING_MODULES) and _name(source) not in _MOVES:
            return ""
        source = source.args[0] if source.args else None
    return ""


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
                if not _affine(expression):
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
    if norm and _affine(expression):
        following.norm = norm
        return X, None
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
    """An operation between functions of x and numbers; a sum of x, scaled or not, with another signal is residual."""
    terms: list[sp.Expr] = []
    for argument in node.args[:2]:
        if isinstance(argument, fx.Node) and argument in values:
            terms.append(values[argument][0])
        elif isinstance(argument, int | float):
            terms.append(sp.sympify(argument))
        elif name in _SUMS and any(_affine(values[n][0]) for n in node.all_input_nodes if n in values):
            following.residual = True
            return X, None
        else:
            return None
    return _BINARY[name](*terms), None


def _applied(own: Formula, expression: sp.Expr) -> tuple[sp.Expr, Formula | None]:
    return (own.bound, own) if expression == X else (own.bound.subs(X, expression), None)


def _affine(expression: sp.Expr) -> bool:
    return bool(expression.is_polynomial(X)) and sp.degree(expression, gen=X) < 2


def _name(node: fx.Node) -> str:
    if node.op == "call_method":
        return str(node.target).strip("_")
    return str(getattr(node.target, "__name__", "")).strip("_") if node.op == "call_function" else ""


def _norm_name(node: fx.Node, module: nn.Module | None) -> str:
    """The kind of normalisation that a node is, or ""."""
    if module is not None:
        return type(module).__name__ if _is_norm(module) else ""
    return _name(node) if _name(node) in _NORM_FUNCTIONS else ""


def _normalised_blocks(
    graph: fx.Graph, modules: Mapping[str, nn.Module], before: Mapping[fx.Node, set[fx.Node]]
) -> set[fx.Node]:
    """The nodes on one branch alone of a sum of two branches of one signal, a normalisation on one or right after."""

    def normalises(node: fx.Node) -> bool:
        return bool(_norm_name(node, modules.get(str(node.target)) if node.op == "call_module" else None))

    inside: set[fx.Node] = set()
    for node in graph.nodes:
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
    """What the outputs of layers meet on their way to the first activation, and the modules whose own forward adds.

    Attributes:
        found: the layers by their paths; what is seen is written there.
        sources: tensor -> the layers that it comes from with no activation in between.
        normed: tensor -> the kind of normalisation that it comes from, moved at most.
        waiting: the layers that no activation has followed since their last call.
        active: paths of the modules that are running, the innermost last.
        adding: paths of the modules whose own forward adds two tensors of one shape.
        silent: how many calls that count as one are running.
    """

    def __init__(self, found: dict[str, Following]) -> None:
        super().__init__()
        self.found = found
        self.sources = WeakIdKeyDictionary()
        self.normed = WeakIdKeyDictionary()
        self.waiting: set[str] = set()
        self.active: list[str] = []
        self.adding: set[str] = set()
        self.silent = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(getattr(func, "__name__", "")).strip("_")
        formula = None
        if not self.silent:
            formula = formula_of_call(name, args[1:], kwargs) if name not in ("neg", "sign", "abs", "sqrt") else None
            self.see(name, formula, args)
        self.silent += 1
        try:
            result = func(*args, **(kwargs or {}))
        finally:
            self.silent -= 1
        self.mark(result, set() if formula else self.layers_of(args))
        source = args[0] if args and isinstance(args[0], Tensor) else None
        if isinstance(result, Tensor) and name in _NORM_FUNCTIONS:
            self.normed[result] = name
        elif isinstance(result, Tensor) and name in _MOVES and source is not None and source in self.normed:
            self.normed[result] = self.normed[source]
        return result

    def see(self, name: str, formula: Formula | None, args: Any) -> None:
        """A call of a function."""
        tensors = [a for a in args[:2] if isinstance(a, Tensor)]
        adds = name in _SUMS and len(tensors) == 2 and tensors[0].shape == tensors[1].shape
        if formula is not None:
            self.activate(formula, args[:1])
        elif name in _NORM_FUNCTIONS:
            for path in self.layers_of(args):
                self.found[path].norm = name
        elif adds:
            self.adding.add(self.active[-1] if self.active else "")
            for path in self.layers_of(args):
                self.found[path].residual = True

    def activate(self, formula: Formula, args: Any) -> None:
        """An activation takes what may come from layers."""
        for path in self.layers_of(args):
            self.waiting.remove(path)
            following = self.found[path]
            names = {*following.several, formula.name, (following.formula or formula).name}
            following.several = tuple(sorted(names)) if len(names) > 1 else ()
            following.formula = following.formula or formula

    def layers_of(self, values: Any) -> set[str]:
        """The waiting layers that some of the values, which may be sequences of tensors, come from."""
        tensors = [t for v in values for t in (v if isinstance(v, list | tuple) else [v]) if isinstance(t, Tensor)]
        return self.waiting & {path for t in tensors if t in self.sources for path in self.sources[t]}

    def mark(self, result: Any, layers: set[str]) -> None:
        """What a call returned comes from these layers."""
        for tensor in result if isinstance(result, list | tuple) else [result]:
            if isinstance(tensor, Tensor) and (layers or tensor in self.sources):
                self.sources[tensor] = layers


def _watch(model: nn.Module, example: Any, found: dict[str, Following]) -> None:
    watcher = _Watcher(found)
    handles = []
    for path, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(_entering(watcher, path, module)))
        handles.append(module.register_forward_hook(_leaving(watcher, path, module), always_call=True))
    training = {module: module.training for module in model.modules()}
    try:
        with torch.no_grad(), watcher:
            model.eval()
            if isinstance(example, Mapping):
                model(**example)
            else:
                model(*example) if isinstance(example, tuple) else model(example)
    finally:
        for module, before in training.items():
            module.training = before
        for handle in handles:
            handle.remove()
    normed = {path for path, module in model.named_modules() if any(_is_norm(m) for m in module.modules())}
    blocks = watcher.adding & normed
    for following in found.values():
        parts = following.path.split(".")
        following.normalised_block = any(".".join(parts[:k]) in blocks for k in range(len(parts)))


def _entering(watcher: _Watcher, path: str, module: nn.Module) -> Any:
    def hook(_: nn.Module, args: Any) -> None:
        watcher.active.append(path)
        if is_layer(module, transposed=True) and not watcher.silent:
            watcher.found[path].after_norm = next((watcher.normed[a] for a in args[:1] if a in watcher.normed), "")
            for other in watcher.layers_of(args):
                watcher.found[other].feeds = True
        own = formula_of_module(module) if not watcher.silent else None
        if own is not None:
            watcher.activate(own, args[:1])
        watcher.silent += is_known(module)

    return hook


def _leaving(watcher: _Watcher, path: str, module: nn.Module) -> Any:
    def hook(_: nn.Module, __: Any, result: Any) -> None:
        watcher.active.pop()
        watcher.silent -= is_known(module)
        if is_layer(module, transposed=True):
            watcher.found[path].reached = True
            watcher.waiting.add(path)
            watcher.mark(result, {path})
        elif is_known(module):
            watcher.mark(result, set())
        elif _is_norm(module) and isinstance(result, Tensor):
            watcher.normed[result] = type(module).__name__

    return hook
