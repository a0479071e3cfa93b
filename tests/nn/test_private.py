"""What is used of torch without its promise: that it stands in one file, and does there what is relied on."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.nn import functional
from torch.overrides import TorchFunctionMode

import actsmith
from actsmith.nn import private
from actsmith.nn.activation import Activation

ROOT = Path(actsmith.__file__).parent
OVERRIDDEN = ("super()._apply", "super()._load_from_state_dict")
"""Methods that torch calls on subclasses: what ours add is tested with the modules that do."""


def private_names() -> set[str]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 1.0)
    homes: list[Any] = [
        nn.Linear(1, 1), Tensor, torch, torch._C, torch._C._functorch, optimizer, forward_ad, torch.autograd.Function,
        nn.modules.batchnorm, nn.modules.conv, nn.modules.module, torch.fx.Tracer, torch.fx.Graph, torch.overrides,
    ]  # fmt: skip
    names = {n for home in homes for n in dir(home) if n.startswith("_") and not n.startswith("__")}
    return names | {"_orig_mod", "_wrapped_by_lr_sched", "_dynamo_marked_constant"}


def uses(file: Path, names: set[str]) -> list[str]:
    """The private names of torch in a file, but for those that its classes and functions define themselves."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    nodes = list(ast.walk(tree))
    own = {n.name for n in nodes if isinstance(n, ast.FunctionDef)}
    own |= {n.attr for n in nodes if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store)}
    found = []
    for node in nodes:
        if isinstance(node, ast.Attribute) and node.attr in names and ast.unparse(node) not in OVERRIDDEN:
            mine = isinstance(node.value, ast.Name) and node.value.id == "self" and node.attr in own
            found += [] if mine else [ast.unparse(node)]
        elif isinstance(node, ast.Constant) and node.value in names:
            found.append(str(node.value))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("torch"):
            found += [ast.unparse(node)] * ("._" in f"{node.module}" or any(a.name in names for a in node.names))
    return found


@pytest.mark.parametrize("folder", ["nn", "surgery"])
def test_they_stand_in_one_file(folder: str) -> None:
    names = private_names()
    found = {f.name: u for f in (ROOT / folder).glob("*.py") if f.name != "private.py" and (u := uses(f, names))}
    assert found == {}
    assert len(uses(ROOT / "nn" / "private.py", names)) > 20


# ------------------------------------------------------------------------------------------------ the dispatcher


def test_keys_tell_plain_tensors_from_all_others() -> None:
    plain = private.dispatch_keys(torch.ones(2)).raw_repr()
    alike = [torch.ones(3, 4).t(), torch.ones(2, dtype=torch.float16), nn.Parameter(torch.ones(2))]
    others = [
        torch.ones(2).to_sparse(), torch.empty(2, device="meta"), torch.ones(2).to_mkldnn(),
        torch.ones(2, dtype=torch.cfloat).conj(), torch.ones(2, dtype=torch.cfloat).conj().imag,
    ]  # fmt: skip
    assert {private.dispatch_keys(t).raw_repr() for t in alike} == {plain}
    assert plain not in {private.dispatch_keys(t).raw_repr() for t in others}
    seen: list[int] = []

    def look(x: Tensor) -> Tensor:
        seen.append(private.dispatch_keys(x).raw_repr())
        return x * 2

    torch.vmap(look)(torch.ones(2))
    torch.func.grad(lambda x: look(x).sum())(torch.ones(2))
    assert plain not in seen
    assert len(seen) == 2


@pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning")
def test_what_transforms_or_traces_is_noticed() -> None:
    seen: dict[str, bool] = {"nothing": private.observed()}

    def look(x: Tensor, name: str) -> Tensor:
        seen[name] = private.observed()
        return x * 2

    x = torch.ones(2)
    torch.vmap(lambda x: look(x, "vmap"))(x)
    torch.func.grad(lambda x: look(x, "grad").sum())(x)
    torch.func.jvp(lambda x: look(x, "jvp"), (x,), (x,))
    with forward_ad.dual_level():
        look(x, "forward mode")
    with FakeTensorMode(allow_non_fake_inputs=True):
        look(x, "dispatch mode")
    torch.jit.trace(lambda x: look(x, "jit"), x, check_trace=False)
    seen["nothing again"] = private.observed()
    assert seen == {n: not n.startswith("nothing") for n in seen}
    assert len(seen) == 8


def test_an_operation_without_questions() -> None:
    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return 2 * x

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Tensor:  # type: ignore[override]
            return 2 * g

    x = torch.ones(2, requires_grad=True)
    y = private.plain_apply(Double)(x)
    y.sum().backward()
    assert torch.equal(y, 2 * x)
    assert torch.equal(x.grad, torch.full((2,), 2.0))


def test_versions_count_changes_in_place() -> None:
    x = torch.ones(2)
    before = private.version_of(x)
    functional.relu_(x[:1])
    assert private.version_of(x) == before + 1
    with torch.inference_mode():
        assert private.version_of(torch.ones(2)) == 0


# ------------------------------------------------------------------------------------------------ transforms


def test_dynamo_runs_what_is_marked_and_keeps_the_result() -> None:
    runs: list[int] = []

    @private.run_by_dynamo
    def answer() -> bool:
        runs.append(1)
        return True

    compiled = torch.compile(lambda x: x * 2 if answer() else x, backend="eager", fullgraph=True)
    assert [float(compiled(torch.ones(()))) for _ in range(3)] == [2.0] * 3
    assert len(runs) == 1


def test_dynamo_enters_the_transforms_that_it_traces() -> None:
    def f(x: Tensor) -> Tensor:
        return x * 3 if private.transforming() else x * 2

    assert torch.equal(torch.compile(f, backend="eager")(torch.ones(2)), torch.full((2,), 2.0))
    compiled = torch.compile(torch.func.grad(lambda x: f(x).sum()), backend="eager")
    assert torch.equal(compiled(torch.ones(2)), torch.full((2,), 3.0))


# ------------------------------------------------------------------------------------------------ modules


def test_the_tables_of_a_module_are_what_its_attributes_read() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    private.children_of(model)["0"] = other = nn.Linear(2, 2)
    assert model[0] is other
    assert [n for n, _ in model.named_children()] == ["0", "1"]
    assert private.parameters_of(other)["weight"] is other.weight
    private.buffers_of(model[1])["running_mean"] = mean = torch.ones(2)
    assert model[1].running_mean is mean


def test_the_hooks_of_a_module_stand_in_these_dictionaries() -> None:
    first, second = nn.ReLU(), nn.ReLU()
    seen: list[str] = []
    handles = [
        first.register_forward_hook(lambda *_: seen.append("after"), always_call=True),
        first.register_forward_hook(lambda *_, **__: seen.append("keywords"), with_kwargs=True),
        first.register_forward_pre_hook(lambda *_: seen.append("before"), with_kwargs=True),
    ]
    for name in private.HOOKS:
        vars(second)[name] = vars(first)[name]
    second(torch.ones(1))
    assert seen == ["before", "after", "keywords"]
    for handle in handles:
        handle.remove()
    second(torch.ones(1))
    assert len(seen) == 3
    held = {n for n in vars(nn.ReLU()) if n.startswith("_forward") and "hooks" in n}
    assert held == set(private.HOOKS)


def test_a_compiled_module_runs_plain_where_its_call_is_taken_away() -> None:
    graphs: list[Any] = []

    def backend(graph: Any, _: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    inside, wrapped = nn.Linear(2, 2), nn.Linear(2, 2)
    inside.compile(backend=backend)
    model = torch.compile(wrapped, backend=backend)
    assert private.inside_compiled(model) is wrapped  # type: ignore[arg-type]
    assert private.inside_compiled(wrapped) is wrapped
    assert [private.is_compiled(m) for m in (inside, model, wrapped)] == [True, True, False]  # type: ignore[arg-type]
    call = private.compiled_call(inside)
    private.set_compiled_call(inside, None)
    inside(torch.ones(1, 2))
    assert not graphs
    private.set_compiled_call(inside, call)
    inside(torch.ones(1, 2))
    assert len(graphs) == 1


def test_the_frames_between_a_call_and_who_sees_it() -> None:
    between: list[set[str]] = []
    calls: list[int] = []

    class Look(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            frame, names, through = sys._getframe(1), set(), 0
            while frame is not None and frame.f_code.co_name != "forward":
                names.add(frame.f_globals["__name__"])
                frame = frame.f_back  # type: ignore[assignment]
            while frame is not None:
                through += private.calls_modules(frame)
                frame = frame.f_back  # type: ignore[assignment]
            if through:
                between.append(names)
                calls.append(through)
            return func(*args, **(kwargs or {}))

    class Calls(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return functional.hardtanh(functional.relu(x).tanh()) + torch.special.expit(x)

    hooked = nn.Sequential(Calls())
    hooked[0].register_forward_hook(lambda *_: None)
    with Look():
        hooked(torch.ones(2))
    assert len(between) >= 4
    assert set().union(*between) <= set(private.PASSED)
    assert min(calls) >= 2  # of the Sequential and of the module in it, whichever way their calls take


def test_an_optimiser_that_had_a_scheduler() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 1.0)
    assert not private.had_scheduler(optimizer)
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)
    assert private.had_scheduler(optimizer)


def test_a_state_with_scalars_and_a_moved_activation() -> None:
    """`_load_from_state_dict` is called for every module, with its prefix, before its own parameters are read."""
    model = nn.Sequential(nn.Linear(1, 1), Activation("crrelu"))
    state = model.state_dict() | {"1.eps": torch.tensor(0.5)}
    model.load_state_dict(state)
    assert torch.equal(model[1].eps, torch.tensor([0.5]))
