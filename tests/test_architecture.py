"""The shape of the package: imports point one way, nothing heavy loads early, files and functions stay small."""

import ast
import functools
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import actsmith

ROOT = Path(actsmith.__file__).parent
MAX_FILE_LINES, MAX_FUNCTION_LINES = 600, 70

GROUND = ("errors", "names", "files", "progress", "display")
LAYERS = (
    *GROUND,
    "formula",
    "theory",
    "nn",
    "integrations",
    "surgery",
    "training",
    "tasks",
    "trials",
    "search",
    "table",
    "papers",
    "report",
    "app",
    "benchmarks",
    "cli",
)
"""In the order of the data flow: a module imports from its own layer and from those before it."""

HEAVY = ("torch", "sympy", "numpy", "scipy", "pandas", "matplotlib", "transformers", "sklearn")


@functools.cache
def modules() -> dict[str, Path]:
    """Dotted name -> file, of every module in the package."""
    found = {}
    for file in sorted(ROOT.rglob("*.py")):
        parts = file.relative_to(ROOT.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


@functools.cache
def syntax(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def layer(module: str) -> str | None:
    """The layer of a dotted name, None outside the package and for its top."""
    parts = module.split(".")
    if parts[0] != "actsmith" or len(parts) == 1:
        return None
    return "cli" if parts[1] == "__main__" else parts[1]


def only_typed(tree: ast.Module) -> set[ast.AST]:
    """What stands under `if TYPE_CHECKING:`."""
    found: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            found |= {inner for statement in node.body for inner in ast.walk(statement)}
    return found


def imports(module: str, *, typed: bool = True) -> set[str]:
    """Everything a module imports, inside functions too, relative imports resolved; what type checkers alone import
    counts where `typed`."""
    file = modules()[module]
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    found: set[str] = set()
    left_out = set() if typed else only_typed(syntax(file))
    for node in ast.walk(syntax(file)):
        if node in left_out:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            homes = actsmith._HOME if base == "actsmith" else {}
            found |= {base} | {f"{base}.{homes.get(alias.name, alias.name)}" for alias in node.names}
    return {name for name in found if not name.startswith("actsmith.__")}


def loaded_after(statement: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after `statement`."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps(list(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT.parent)}
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100, env=environment
    )
    return set(json.loads(run.stdout))


def heavy(names: set[str]) -> set[str]:
    return {name for name in names if name in HEAVY}


def in_layers(names: set[str], layers: tuple[str, ...]) -> set[str]:
    return {name for name in names if layer(name) in layers}


def test_the_formula_layer_was_examined() -> None:
    expected = {"formula", "parse", "primitives", "lower", "pieces", "text", "catalogue"}
    assert expected <= {name.rpartition(".")[2] for name in modules() if layer(name) == "formula"}
    assert "sympy" in imports("actsmith.formula.formula")
    assert "actsmith.formula.parse" in imports("actsmith.formula.formula")
    assert "torch" in imports("actsmith.formula.lower")  # inside a function


def test_every_module_belongs_to_a_layer() -> None:
    assert {layer(name) for name in modules()} <= {None, *LAYERS}


@pytest.mark.parametrize("module", [m for m in modules() if layer(m)])
def test_imports_point_one_way(module: str) -> None:
    own = layer(module)
    assert own is not None
    allowed = LAYERS[: LAYERS.index(own) + 1]
    backward = {name for name in imports(module) if layer(name) not in (None, *allowed)}
    assert not backward, f"{module} imports from later layers: {sorted(backward)}"


def test_nothing_imports_the_command_line_but_main() -> None:
    for module in modules():
        if module not in ("actsmith.cli", "actsmith.__main__") and not module.startswith("actsmith.cli."):
            assert not in_layers(imports(module), ("cli",)), module


def imported_modules(module: str) -> set[str]:
    """The modules of the package that `module` imports by name, wherever in it; a package only where it is named."""
    found = set()
    for name in imports(module, typed=False):
        parts = name.split(".")
        prefixes = (".".join(parts[:k]) for k in range(len(parts), 0, -1))
        home = next((prefix for prefix in prefixes if prefix in modules()), None)
        # `from actsmith.nn import init` is an import of actsmith.nn.init, which the package does not have to know.
        deeper = any(other.startswith(f"{name}.") and other in modules() for other in imports(module, typed=False))
        if home not in (None, module, "actsmith") and not deeper:
            found.add(home)
    return found


def circle(graph: dict[str, set[str]]) -> list[str]:
    """The names on a circle of the graph, [] where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        names: Iterable[str] = error.args[1]
        return list(names)
    return []


def test_no_import_circles() -> None:
    graph = {name: imported_modules(name) for name in modules()}
    assert sum(map(len, graph.values())) > 500
    assert not circle(graph), " imports ".join(circle(graph)[::-1])


def test_a_circle_through_a_function_would_be_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "first.py", tmp_path / "second.py"
    first.write_text("from actsmith.second import b\n")
    second.write_text("def b():\n    from actsmith import first\n    return first\n")
    known = {"actsmith": ROOT / "__init__.py", "actsmith.first": first, "actsmith.second": second}
    monkeypatch.setattr(sys.modules[__name__], "modules", lambda: known)
    graph = {name: imported_modules(name) for name in ("actsmith.first", "actsmith.second")}
    assert graph == {"actsmith.first": {"actsmith.second"}, "actsmith.second": {"actsmith.first"}}
    assert circle(graph)
    second.write_text("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from actsmith import first\n")
    syntax.cache_clear()
    assert not circle({name: imported_modules(name) for name in ("actsmith.first", "actsmith.second")})


NETS = {"nets", "stacked", "Single", "Stack", "SideBySide", "vmap"}
"""Names by which code says that several networks are computed at once."""
OF_ONE = {"loss": ["self", "model", "batch"], "score": ["self", "model", "split"], "batch": ["self", "order", "device"]}
"""What the methods of a problem take."""


def names_of_nets(tree: ast.Module) -> set[str]:
    """Those of `NETS` that a file of a problem or a model uses outside of a model's own batched form: its methods
    `batched`, and the private classes and functions of such a file, which they are made of."""
    batched = {n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == "batched"}
    private = [n for n in tree.body if isinstance(n, ast.ClassDef | ast.FunctionDef) and n.name.startswith("_")]
    spared = {inner for node in (*batched, *(private if batched else ())) for inner in ast.walk(node)}
    found = set()
    for node in ast.walk(tree):
        if node not in spared:
            found |= {getattr(node, field, None) for field in ("id", "attr", "arg", "name")}
    return found & NETS


BATCHED = "actsmith.tasks.batched"
"""The layers that batched forms are made of: many networks are what they are about."""


@pytest.mark.parametrize("module", [m for m in modules() if layer(m) == "tasks" and m != BATCHED])
def test_problems_and_models_speak_of_one_network(module: str) -> None:
    tree = syntax(modules()[module])
    assert not names_of_nets(tree), f"{module}: how many networks train at once is the engine's business"
    for made in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
        methods = {n.name: [a.arg for a in n.args.args] for n in made.body if isinstance(n, ast.FunctionDef)}
        if {"loss", "score"} & set(methods):
            for name, arguments in OF_ONE.items():
                assert methods.get(name, arguments) == arguments, f"{module}: {made.name}.{name}"


def test_a_problem_of_many_networks_would_be_found() -> None:
    assert names_of_nets(ast.parse("def loss(model, batch):\n    return model(batch).expand(nets, -1)")) == {"nets"}
    assert names_of_nets(ast.parse("from actsmith.training.stack import Stack\nclass P:\n    stacked = True")) == {
        "Stack", "stacked"
    }  # fmt: skip
    form = "class Model:\n    def batched(self, nets):\n        return _Models(nets)\nclass _Models:\n    nets = 1\n"
    assert names_of_nets(ast.parse(form)) == set()
    assert names_of_nets(ast.parse(form + "class Other:\n    nets = 1\n")) == {"nets"}


def test_the_papers_are_read_by_nobody_but_the_surface() -> None:
    for module in modules():
        if layer(module) not in (None, "papers", "report", "app", "cli"):
            assert not in_layers(imports(module), ("papers",)), module


@pytest.mark.parametrize("module", [m for m in modules() if layer(m) in ("formula", "theory")])
def test_formula_and_theory_touch_torch_inside_functions_at_most(module: str) -> None:
    for node in syntax(modules()[module]).body:
        names = {alias.name for alias in node.names} if isinstance(node, ast.Import) else set()
        names |= {node.module or ""} if isinstance(node, ast.ImportFrom) else set()
        assert not {name.partition(".")[0] for name in names} & {"torch", "torchvision", "transformers"}, module


def test_theory_never_imports_torch() -> None:
    for module in modules():
        if layer(module) == "theory":
            assert not {name.partition(".")[0] for name in imports(module)} & {"torch"}, module


def test_importing_the_package_loads_nothing_heavy() -> None:
    loaded = loaded_after("import actsmith")
    assert not heavy(loaded)
    assert not in_layers(loaded, LAYERS[len(GROUND) :])


@pytest.mark.parametrize("own", LAYERS[len(GROUND) :])
def test_a_layer_loads_no_later_layer(own: str) -> None:
    names = [name for name in modules() if layer(name) == own and not name.endswith("__main__")]
    loaded = loaded_after("\n".join(f"import {name}" for name in names))
    later = LAYERS[LAYERS.index(own) + 1 :]
    assert not in_layers(loaded, later)
    if own in ("formula", "theory"):
        assert "torch" not in loaded


def test_the_public_names_resolve() -> None:
    missing = []
    for name in actsmith.__all__:
        try:
            getattr(actsmith, name)
        except (ImportError, AttributeError) as error:
            missing.append(f"{name}: {error}")
    assert not missing
    assert set(actsmith.__all__) <= set(dir(actsmith))


def test_type_checkers_see_what_the_program_sees() -> None:
    typed = {}
    for node in only_typed(syntax(ROOT / "__init__.py")):
        if isinstance(node, ast.ImportFrom) and node.module != "actsmith":
            for alias in node.names:
                assert alias.asname == alias.name  # a re-export
                typed[alias.name] = node.module
    assert typed == {name: f"actsmith.{home}" for name, home in actsmith._HOME.items()}
    assert (ROOT / "py.typed").is_file()


@pytest.mark.parametrize(("old", "new"), list(actsmith._RENAMED.items()))
def test_an_old_name_warns_and_works(old: str, new: str) -> None:
    with pytest.warns(DeprecationWarning, match=rf"actsmith\.{old} is now actsmith\.{new};"):
        found = getattr(actsmith, old)
    assert found is getattr(actsmith, new)
    assert old not in dir(actsmith)


def test_search_is_an_ordinary_function() -> None:
    """Also after the folder of the same name was imported."""
    code = """
        import inspect, pickle, pydoc
        import actsmith as acts
        from actsmith.search import run
        import actsmith.search.run as again
        from actsmith import search
        import actsmith.search
        assert acts.search is search is run.search is again.search, acts.search
        assert inspect.isfunction(acts.search)
        assert "start" in inspect.signature(acts.search).parameters
        assert "start" in pydoc.render_doc(acts.search)
        assert pickle.loads(pickle.dumps(acts.search)) is acts.search
        assert actsmith.search.run is run
    """
    loaded_after(textwrap.dedent(code))


@pytest.mark.slow
def test_mypy_knows_every_public_name(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    names = [name for name in actsmith.__all__ if name != "__version__"]
    shown = [f"reveal_type(acts.{name})" for name in names]
    file = tmp_path / "user.py"
    file.write_text(
        "\n".join(["import actsmith as acts", *shown, 'reveal_type(acts.entropy("relu"))', "acts.typo", ""])
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(file)]
    out = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False, cwd=tmp_path).stdout
    revealed = [line for line in out.splitlines() if "Revealed type" in line and "user.py" in line]
    assert len(revealed) == len(shown) + 1, out
    assert not [line for line in revealed if '"Any"' in line]
    assert 'actsmith.theory.entropy.Entropy"' in revealed[-1]
    assert any("def (" in line and "SearchResult" in line for line in revealed)
    errors = [line for line in out.splitlines() if "user.py" in line and "error:" in line]
    assert len(errors) == 1, errors
    assert "has no attribute" in errors[0]


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = actsmith.nothing


@pytest.mark.parametrize("module", modules())
def test_size(module: str) -> None:
    file = modules()[module]
    assert len(file.read_text(encoding="utf-8").splitlines()) <= MAX_FILE_LINES
    for node in ast.walk(syntax(file)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines <= MAX_FUNCTION_LINES, f"{module}.{node.name} has {lines} lines"
