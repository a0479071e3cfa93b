"""Many networks of one structure in one batched computation, each as if it were trained alone.

    losses(problem, batch)[i] = problem.loss(net i, batch[i])

| form | how                                                                                                   |
|------|-------------------------------------------------------------------------------------------------------|
| own  | the model says itself how: `model.batched(nets)` gives a module of the same parameter names, each with |
|      | a first dimension of nets, that maps (nets, batch, ...) to (nets, batch, ...)                          |
| vmap | `torch.func.vmap` over the ordinary module, whatever it is                                             |

Either way the problem's loss sees one network and one batch. Activations keep their kernels: the nets are channels.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from actsmith.errors import ActsmithError
from actsmith.nn.activation import Activation
from actsmith.nn.jet_tensor import Jet
from actsmith.training.problem import Problem

__all__ = ["Form", "Stack", "can_batch", "joined", "split", "with_autograd"]

Form = Literal["own", "vmap"]


def can_batch(model: nn.Module) -> bool:
    """Whether the model has a batched form of its own."""
    return callable(getattr(model, "batched", None))


class Stack(nn.Module):
    """Networks side by side, with values of their own.

    Args:
        models: of one structure; their values are copied in.
        form: how they are computed together.

    Attributes:
        nets: how many.
        module: holds the parameters and buffers under the names of one net, each (nets, ...).

    Raises:
        ActsmithError: models of different structure or activations, or none of its own form.
    """

    def __init__(self, models: Sequence[nn.Module], form: Form = "vmap") -> None:
        super().__init__()
        kinds = [_structure(model) for model in models]
        if not models or any(kind != kinds[0] for kind in kinds):
            raise ActsmithError(
                f"stack: got {len(models)} models of different structure or activations; expected one or more, alike"
            )
        if form == "own" and not can_batch(models[0]):
            raise ActsmithError(f"stack: {type(models[0]).__name__} has no form of its own; expected form='vmap'")
        self.nets, self.form = len(models), form
        first: Any = models[0]
        self.module: nn.Module = _batched(first, self.nets) if form == "own" else _widened(first, self.nets)
        self._one = [copy.deepcopy(models[0])]  # in a list: its parameters are not the stack's
        self._call = [_Call(self)]
        self._ahead: bool | None = False if form == "vmap" else None  # None until the first losses say
        self.read(models)

    @torch.no_grad()
    def read(self, models: Sequence[nn.Module]) -> None:
        """Take the values of the models, one a net."""
        values = [_named(model) for model in models]
        for name, held in _named(self.module).items():
            held.copy_(torch.stack([value[name].to(held.device) for value in values]).view_as(held))

    @torch.no_grad()
    def write(self, models: Sequence[nn.Module]) -> None:
        """Give each model the values of its net."""
        held = _named(self.module)
        for i, model in enumerate(models):
            for name, value in _named(model).items():
                value.copy_(held[name][i])

    def net(self, i: int) -> nn.Module:
        """Net i as an ordinary module; the next call changes it."""
        one = self._one[0].to(next(self.parameters()).device)
        held = _named(self.module)
        with torch.no_grad():
            for name, value in _named(one).items():
                value.copy_(held[name][i])
        return one

    @property
    def one(self) -> nn.Module:
        """The structure of one net."""
        return self._one[0]

    def train(self, mode: bool = True) -> Stack:
        """The stack and the structure of one net."""
        self._one[0].train(mode)
        return super().train(mode)

    def losses(self, problem: Problem, batch: Any) -> Tensor:
        """The loss of each net, (nets,), on its own batch: a tree of tensors (nets, batch, ...)."""
        if self._ahead is None:
            buffers = {name: b.clone() for name, b in self.module.named_buffers()}
            try:
                found = self._losses_ahead(problem, batch)
            except Exception:  # whatever a form of its own does with what is no input of the network
                self._ahead = False
                for name, b in self.module.named_buffers():
                    b.copy_(buffers[name])
            else:
                self._ahead = True
                return found
        return self._losses_ahead(problem, batch) if self._ahead else self._losses(problem, batch)

    def _losses_ahead(self, problem: Problem, batch: Any) -> Tensor:
        """Outputs for the batch's inputs, computed outside of the transform, where a loss asks for nothing else.

        Raises:
            _NotAheadError: it asks for something else.
        """
        outputs = self.module(problem.inputs_of(batch))

        def one(examples: Any, out: Tensor) -> Tensor:
            return problem.loss(_Ahead(problem.inputs_of(examples), out), examples)

        losses: Tensor = vmap(one, randomness="different")(batch, outputs)
        return losses

    def _losses(self, problem: Problem, batch: Any) -> Tensor:
        call = self._call[0]

        def one(index: Tensor, state: Mapping[str, Tensor], examples: Any) -> Tensor:
            with call.inside(index):
                return functional_call(call.loss, dict(state), (problem, examples))  # type: ignore[no-any-return]

        device = next(self.parameters()).device
        state = {f"model.{name}": v for name, v in _named(self.module, detach=False).items()}
        with _attention(device):
            losses: Tensor = vmap(one, randomness="different")(torch.arange(self.nets, device=device), state, batch)
        return losses


class _NotAheadError(Exception):
    """A loss asked its network for more than the outputs that were computed ahead."""


class _Ahead(nn.Module):
    """A network that knows one output."""

    def __init__(self, x: Tensor, out: Tensor) -> None:
        self.__dict__.update(x=x, out=out)

    def __call__(self, x: Tensor) -> Tensor:
        if x is not self.__dict__["x"]:
            raise _NotAheadError
        found: Tensor = self.__dict__["out"]
        return found

    def __getattribute__(self, name: str) -> Any:
        if name in ("__dict__", "__class__"):
            return object.__getattribute__(self, name)
        raise _NotAheadError(name)


def _attention(device: torch.device) -> AbstractContextManager[None]:
    """The CPU's fused attention has no rule for vmap (torch 2.14): it would take the nets one by one, and warn."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()


class _Loss(nn.Module):
    """Problem.loss as a module, so that `functional_call` puts a net's values into the model that it is given."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, problem: Problem, batch: Any) -> Tensor:
        return problem.loss(self.model, batch)


class _Call(nn.Module):
    """What is called for one network in a loss of a stack, and what `with_autograd` calls in its place.

    A form of its own stands in for the forward of the single net, whose parameters are the net's all the same: a
    penalty on `model.parameters()` sees the right ones.
    """

    def __init__(self, stack: Stack) -> None:
        super().__init__()
        self._stack = [stack]
        self.loss = _Loss(stack.one)
        self.index: Tensor | None = None  # None where tensors have their dimension of nets
        _calls[stack.one] = weakref.ref(self)

    @contextmanager
    def inside(self, index: Tensor | None) -> Iterator[None]:
        """While the losses are computed; with None, where ordinary autograd works."""
        stack = self._stack[0]
        before, self.index = self.index, index
        if stack.form == "own":
            stack.one.__dict__["forward"] = self.forward
        try:
            yield
        finally:
            self.index = before
            if before is None:
                stack.one.__dict__.pop("forward", None)

    def forward(self, x: Any) -> Any:
        stack = self._stack[0]
        if isinstance(x, Jet):
            return self.of_jet(x)
        if self.index is not None:
            return _Lowered.apply(self, lambda call, z: (call(z),), self.index, x)[0]
        if stack.form == "own":
            out: Tensor = stack.module(x)
            return out
        state = _named(stack.module, detach=False)
        batched: Tensor = vmap(lambda s, z: functional_call(stack.one, s, (z,)), randomness="different")(state, x)
        return batched

    def of_jet(self, x: Jet) -> Jet:
        """The network of a value with derivatives, whose slots come before the nets where there is such a dimension."""
        stack, slots = self._stack[0], x.slots
        if self.index is not None:

            def lowered(call: _Call, packed: Tensor) -> tuple[Tensor]:
                return (call.of_jet(Jet(packed.transpose(0, 1), slots)).packed.transpose(0, 1),)

            return Jet(_Lowered.apply(self, lowered, self.index, x.packed)[0], slots)
        if stack.form == "own":
            found: Jet = stack.module(x)
            return found
        state = _named(stack.module, detach=False)

        def one(values: dict[str, Tensor], packed: Tensor) -> Tensor:
            out: Jet = functional_call(stack.one, values, (Jet(packed, slots),))
            return out.packed

        return Jet(vmap(one, (0, 1), 1, randomness="different")(state, x.packed), slots)


_calls: weakref.WeakKeyDictionary[nn.Module, weakref.ref[_Call]] = weakref.WeakKeyDictionary()
"""A stack's single net -> its call, for `with_autograd`."""


class _Lowered(Function):
    """Leaves the transform: its vmap rule gets tensors with the dimension of nets, where autograd records as ever."""

    @staticmethod
    def forward(call: _Call, function: Any, index: Tensor, *tensors: Tensor) -> Any:
        raise AssertionError("outside of a stack nothing is lowered")

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing: never reached."""

    @staticmethod
    def vmap(info: Any, in_dims: Any, call: _Call, function: Any, index: Tensor, *tensors: Tensor) -> Any:
        lead = [
            t.expand(info.batch_size, *t.shape) if dim is None else t.movedim(dim, 0)
            for t, dim in zip(tensors, in_dims[3:], strict=True)
        ]
        with call.inside(None):
            found = function(call, *lead)
        return found, (0,) * len(found)


def with_autograd(
    function: Callable[..., tuple[Tensor, ...]], model: nn.Module, *tensors: Tensor
) -> tuple[Tensor, ...]:
    """function(model, *tensors), inside of a stack too, where `torch.autograd.grad` is not to be had otherwise.

    There the function is called once for all nets: its tensors have a first dimension of nets, as those that it
    returns must have, and the model maps (nets, batch, ...) to (nets, batch, ...). Write it for leading dimensions of
    any number; nets do not mix, so the gradient of a sum over all of them is each net's own.

    Example:
        >>> def slope(model, x):
        ...     x = x.detach().requires_grad_()
        ...     return torch.autograd.grad(model(x).sum(), x, create_graph=True)
        >>> with_autograd(slope, nn.Tanh(), torch.zeros(1))[0].item()
        1.0
    """
    if isinstance(model, _Ahead):
        raise _NotAheadError
    call = model if isinstance(model, _Call) else _calls[model]() if model in _calls else None
    if call is None or call.index is None:
        return function(model, *tensors)
    return _Lowered.apply(call, function, call.index, *tensors)  # type: ignore[no-any-return]


def _structure(model: nn.Module) -> dict[str, Any]:
    """Of every tensor its form, of every activation its formula without the values of what is learned."""
    found: dict[str, Any] = {name: (v.shape, v.dtype) for name, v in _named(model).items()}
    for path, module in model.named_modules():
        if isinstance(module, Activation):
            formula = module.initial
            params = [(name, p.low, p.high, None if p.learn else p.value) for name, p in formula.params.items()]
            found[path] = (formula.expr, params)
    return found


def _named(model: nn.Module, detach: bool = True) -> dict[str, Tensor]:
    """Parameters and buffers by name, each once."""
    found: dict[str, Tensor] = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {name: v.detach() for name, v in found.items()} if detach else found


def _batched(model: Any, nets: int) -> nn.Module:
    """The model's own form, in its dtype."""
    found: nn.Module = model.batched(nets)
    return found.to(next(model.parameters()).dtype)


def _widened(model: nn.Module, nets: int) -> nn.Module:
    """The same modules, each parameter and buffer with a first dimension of nets; tied ones stay tied."""
    wide = copy.deepcopy(model)
    made: dict[int, Tensor] = {}
    for module in wide.modules():
        for name, p in list(module.named_parameters(recurse=False, remove_duplicate=False)):
            if id(p) not in made:
                made[id(p)] = nn.Parameter(torch.empty(nets, *p.shape, dtype=p.dtype), requires_grad=p.requires_grad)
            setattr(module, name, made[id(p)])
        for name, b in list(module.named_buffers(recurse=False, remove_duplicate=False)):
            if id(b) not in made:
                made[id(b)] = torch.empty(nets, *b.shape, dtype=b.dtype)
            setattr(module, name, made[id(b)])
    return wide


def joined(batches: Sequence[Any]) -> Any:
    """Trees of tensors of one structure as one tree, with a first dimension of nets."""
    first = batches[0]
    if isinstance(first, Tensor):
        return torch.stack(list(batches))
    if isinstance(first, Mapping):
        return {key: joined([b[key] for b in batches]) for key in first}
    return type(first)(joined(parts) for parts in zip(*batches, strict=True))


def split(batch: Any, nets: int) -> Any:
    """A tree of tensors (nets*n, ...) as one of (nets, n, ...)."""
    if isinstance(batch, Tensor):
        return batch.view(nets, -1, *batch.shape[1:])
    if isinstance(batch, Mapping):
        return {key: split(value, nets) for key, value in batch.items()}
    return type(batch)(split(part, nets) for part in batch)
