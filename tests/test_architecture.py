"""The shape of the package: imports point one way, nothing heavy loads early, files and functions stay small."""

import ast
import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import actsmith

ROOT = Path(actsmith.__file__).parent
MAX_FILE_LINES, MAX_FUNCTION_LINES = 600, 70

LAYERS = (
    "errors",
    "progress",
    "formula",
    "theory",
    "nn",
    "surgery",
    "experiments",
    "search",
    "report",
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


def imports(module: str) -> set[str]:
    """Everything a module imports, inside functions too, relative imports resolved."""
    file = modules()[module]
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(syntax(file)):
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
    assert not in_layers(loaded, LAYERS[2:])


@pytest.mark.parametrize("own", LAYERS[2:])
def test_a_layer_loads_no_later_layer(own: str) -> None:
    names = [name for name in modules() if layer(name) == own and not name.endswith("__main__")]
    if not names:
        pytest.skip(f"there is no layer {own} yet")
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
