"""Which activation follows each Linear and Conv layer of a model.

Where torch.fx can trace the model, the output of a layer is followed through its graph as an expression in x: through
everything elementwise (so that x*sigmoid(x), written out, is found as such), through what only moves or selects
elements, through normalisations, up to whatever mixes elements: there the expression is the activation, unless it is
affine in x (a scale alone is no activation). Elsewhere one forward pass is watched, and its graph recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import Any

import sympy as sp
import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from actsmith.errors import ActsmithError
from actsmith.formula.formula import Formula
from actsmith.formula.parse import X
from actsmith.nn.known import formula_of_call, may_be_activation
from actsmith.nn.private import inside_compiled, is_compiled
from actsmith.nn.recognise import recognise_module

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
_PART = sp.Dummy("part")
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
        entry: whether no other layer comes before it.
        waves: whether sines and cosines alone follow, of more than x itself: what a Fourier feature or the first layer
            of a SIREN is, sin(x) alone being an activation.
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
    entry: bool = False
    waves: bool = False


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
    formulas = _formulas(model)  # before the trace, in which parameters have no values
    attributes = set(vars(model))
    try:
        graph = _Tracer(formulas).trace(model)
    except Exception as error:  # what a model's forward raises under symbolic tracing can be anything
        if example is None:
            reason = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
            raise ActsmithError(
                f"critical_init_: torch.fx cannot trace {type(model).__name__} ({reason}); give example=, an input for "
                "one forward pass, or f=, the activation of every layer"
            ) from None
        graph, how = _record(model, example, formulas), "watched"
    else:
        how = "traced"
    finally:
        for name in set(vars(model)) - attributes:  # constants that torch.fx met; proxies that the forward kept
            delattr(model, name)
    _follow(model, graph, found, formulas)
    return list(found.values()), how


# ------------------------------------------------------------------------------------------------ by tracing


class _Tracer(fx.Tracer):
    def __init__(self, formulas: Mapping[nn.Module, Formula]) -> None:
        super().__init__()
        self.formulas = formulas

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return m in self.formulas or _is_leaf(m) or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        """torch.fx traces nothing that torch.compile made: the plain forward is called in its place."""
        inner = inside_compiled(m)
        return super().call_module(inner, inner.forward if is_compiled(m) else forward, args, kwargs)

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> tuple[Any, list[Any]]:
        """torch.fx calls the forward of the root's class; an instance may have its own, as after `acts.replace_`."""
        function, arguments = super().create_args_for_root(root_fn, is_module, concrete_args)
        own = vars(self.root).get("forward")
        return (function if own is None else lambda _, *inputs: own(*inputs)), arguments


def _is_leaf(module: nn.Module) -> bool:
    """Whether a graph holds one call of it, whatever its forward does; so it does of activations."""
    return isinstance(module, _MOVING_MODULES) or is_layer(module, transposed=True) or _is_norm(module)


def _formulas(model: nn.Module) -> dict[nn.Module, Formula]:
    """What the activation modules compute; at the mean of the channels, where each has its own."""
    what = {m: recognise_module(m) for m in model.modules() if may_be_activation(m)}
    return {m: w.typical for m, w in what.items() if w is not None and w.typical is not None}


def _is_norm(module: nn.Module) -> bool:
    return any("Norm" in kind.__name__ for kind in type(module).__mro__) and not any(module.children())


def _follow(
    model: nn.Module, graph: fx.Graph, found: dict[str, Following], formulas: Mapping[nn.Module, Formula]
) -> None:
    modules = _Modules(dict(model.named_modules()), formulas)
    names = {id(m): f.path for f in found.values() for m in [f.module]}
    before: dict[fx.Node, int] = {}  # sets of nodes, a bit for each
    bits = {node: 1 << i for i, node in enumerate(graph.nodes)}
    for node, bit in bits.items():
        before[node] = reduce(or_, (before[n] for n in node.all_input_nodes), bit)
    blocks = _normalised_blocks(bits, modules, before)
    layers = [n for n in graph.nodes if n.op == "call_module" and is_layer(modules.at(n), transposed=True)]
    for node in layers:
        following = found[names[id(modules.at(node))]]
        following.reached = True
        following.normalised_block |= bool(bits[node] & blocks)
        following.feeds |= any(bits[node] & before[other] for other in layers if other is not node)
        following.entry = not any(bits[other] & before[node] for other in layers if other is not node)
        following.after_norm = following.after_norm or _norm_before(node, modules)
        _expressions(node, modules, following)


def _norm_before(node: fx.Node, modules: _Modules) -> str:
    """The kind of normalisation that gives a layer its input, moved or selected at most, or ""."""
    source = node.args[0] if node.args else None
    while isinstance(source, fx.Node):
        module = modules.at(source)
        if norm := _norm_name(source, module):
            return norm
        if not isinstance(module, _MOVING_MODULES) and _name(source) not in _MOVES:
            return ""
        source = source.args[0] if source.args else None
    return ""


@dataclass(frozen=True)
class _Modules:
    """The modules of the model by their paths, and the formulas of the activations among them."""

    by_path: Mapping[str, nn.Module]
    formulas: Mapping[nn.Module, Formula]

    def at(self, node: fx.Node) -> nn.Module | None:
        """The module that the node calls."""
        return self.by_path[str(node.target)] if node.op == "call_module" else None


@dataclass
class _Walk:
    """Nodes that are functions of one layer's output: node -> (expression in x, the formula where it is one alone)."""

    values: dict[fx.Node, tuple[sp.Expr, Formula | None]]
    ends: dict[sp.Expr, Formula] = field(default_factory=dict)


def _expressions(start: fx.Node, modules: _Modules, following: Following) -> None:
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
                    walk.ends[expression] = formula or Formula(expression)
        node = node.next
    ends = {e: f for e, f in walk.ends.items() if not any(_affine_in(e, other) for other in walk.ends if other != e)}
    if len(ends) == 1 and following.formula is None:
        following.formula = next(iter(ends.values()))
    elif ends:
        names = {f.name for f in ends.values()} | ({following.formula.name} if following.formula else set())
        following.several = tuple(sorted(names)) if len(names) > 1 else ()
    following.waves = bool(ends) and set(ends) != {sp.sin(X)} and all(map(_wave, ends))


def _step(
    node: fx.Node,
    inputs: list[fx.Node],
    values: Mapping[fx.Node, tuple[sp.Expr, Formula | None]],
    modules: _Modules,
    following: Following,
) -> tuple[sp.Expr, Formula | None] | None:
    """The value of a node that is a function of the layer's output elementwise; None where its inputs end there."""
    expression, formula = values[inputs[0]]
    name = _name(node)
    module = modules.at(node)
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
        own = modules.formulas.get(module)
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
            shapes = {n.meta.get("shape") for n in node.all_input_nodes}
            following.residual |= len(shapes) == 1  # else one is broadcast: a bias, not a signal
            return X, None
        else:
            return None
    return _BINARY[name](*terms), None


def _applied(own: Formula, expression: sp.Expr) -> tuple[sp.Expr, Formula | None]:
    return (own.bound, own) if expression == X else (own.bound.subs(X, expression), None)


def _wave(expression: sp.Expr) -> bool:
    """Whether it is a sine or cosine of a frequency times x."""
    return isinstance(expression, sp.sin | sp.cos) and _affine(expression.args[0])


def _affine_in(expression: sp.Expr, part: sp.Expr) -> bool:
    """Whether it is a scale and a shift of another expression, as the gate 1 - tanh(x) beside tanh(x) is."""
    rest = expression.xreplace({part: _PART})
    return rest.has(_PART) and not rest.has(X) and bool(rest.is_polynomial(_PART)) and sp.degree(rest, gen=_PART) == 1


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


def _normalised_blocks(bits: Mapping[fx.Node, int], modules: _Modules, before: Mapping[fx.Node, int]) -> int:
    """The nodes on one branch alone of a sum of two branches of one signal, a normalisation on one or right after."""

    def normalises(node: fx.Node) -> bool:
        return bool(_norm_name(node, modules.at(node)))

    norms = reduce(or_, (bit for node, bit in bits.items() if normalises(node)), 0)
    inside = 0
    for node in bits:
        pair = [a for a in node.args if isinstance(a, fx.Node)]
        if _name(node) not in _SUMS or len(pair) != 2:
            continue
        left, right = before[pair[0]], before[pair[1]]
        if left & right and (norms & (left ^ right) or any(norms & bits[n] for n in node.users)):
            inside |= left ^ right
    return inside


# ------------------------------------------------------------------------------------------------ by watching


class _Recorder(TorchFunctionMode):
    """The graph of one forward pass, as torch.fx would have traced it: calls of functions, and modules that are leaves.

    Attributes:
        graph: what was recorded.
        nodes: tensor -> the node that made it, or changed it in place last.
        inside: how many leaves and functions are running: what they call is their own matter.
    """

    def __init__(self) -> None:
        super().__init__()
        self.graph = fx.Graph()
        self.nodes = WeakIdKeyDictionary()
        self.inside = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.inside += 1
        try:
            result = func(*args, **(kwargs or {}))
        finally:
            self.inside -= 1
        if not self.inside:
            self.add("call_function", func, args, kwargs or {}, result)
        return result

    def add(self, op: str, target: Any, args: Any, kwargs: Any, result: Any) -> None:
        """A call, where it returned tensors."""
        made = [t for t in (result if isinstance(result, list | tuple) else [result]) if isinstance(t, Tensor)]
        if made:
            node = self.graph.create_node(
                op, target, tuple(map(self.known, args)), {k: self.known(v) for k, v in kwargs.items()}
            )
            node.meta["shape"] = made[0].shape
            self.nodes.update((t, node) for t in made)

    def known(self, value: Any) -> Any:
        """An argument as the graph holds it: nodes for tensors, a placeholder for those that no call has made."""
        if isinstance(value, Tensor):
            if value not in self.nodes:
                self.nodes[value] = self.graph.placeholder("given")
                self.nodes[value].meta["shape"] = value.shape
            return self.nodes[value]
        if isinstance(value, list | tuple):
            return [self.known(v) for v in value]
        return value if isinstance(value, int | float | str | None) else str(value)


def _record(model: nn.Module, example: Any, formulas: Mapping[nn.Module, Formula]) -> fx.Graph:
    """The graph of model(example), in evaluation mode."""
    recorder = _Recorder()
    handles = []
    for path, module in model.named_modules():
        if module in formulas or _is_leaf(module):
            handles.append(module.register_forward_pre_hook(_entering(recorder)))
            handles.append(module.register_forward_hook(_leaving(recorder, path), with_kwargs=True, always_call=True))
    training = {module: module.training for module in model.modules()}
    try:
        with torch.no_grad(), recorder:
            model.eval()
            if isinstance(example, Mapping):
                result = model(**example)
            else:
                result = model(*example) if isinstance(example, tuple) else model(example)
    finally:
        for module, before in training.items():
            module.training = before
        for handle in handles:
            handle.remove()
    recorder.graph.output([recorder.known(t) for t in _tensors(result)])
    return recorder.graph


def _tensors(result: Any) -> list[Tensor]:
    if isinstance(result, Mapping):
        result = list(result.values())
    if isinstance(result, list | tuple):
        return [t for part in result for t in _tensors(part)]
    return [result] if isinstance(result, Tensor) else []


def _entering(recorder: _Recorder) -> Any:
    def hook(_: nn.Module, __: Any) -> None:
        recorder.inside += 1

    return hook


def _leaving(recorder: _Recorder, path: str) -> Any:
    def hook(_: nn.Module, args: Any, kwargs: Any, result: Any) -> None:
        recorder.inside -= 1
        if not recorder.inside:
            recorder.add("call_module", path, (*args, *kwargs.values()), {}, result)

    return hook
