"""What a browser sends is read, or refused in words."""

import io

import numpy as np
import pytest

from actsmith.app.inputs import MOST_PARAMETERS, formula_of, law_of, samples_law
from actsmith.errors import ActsmithError, FormulaError, LawError
from actsmith.theory.laws import Normal


def npy(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def test_names_without_a_value_become_parameters() -> None:
    f = formula_of("a*x + 2 b_1 sin(x)", {"a": 0.5, "of the formula before": 3.0})
    assert {name: p.value for name, p in f.params.items()} == {"a": 0.5, "b_1": 1.0}
    assert f(1.0) == pytest.approx(0.5 + 2 * np.sin(1.0))


def test_a_name_of_the_catalogue_takes_values() -> None:
    assert formula_of("mrepu:3").params["p"].value == 3
    assert formula_of("mrepu", {"p": 4}).params["p"].value == 4
    with pytest.raises(FormulaError, match=r"did you mean .*gelu"):
        formula_of("gleu")


@pytest.mark.parametrize(
    "text",
    ["", None, 3, "__import__('os')", "x.__class__", "lambda: 1", "(" * 60 + "x" + ")" * 60, "x" * 2001, "x**9**9**9",
     "open('f')", "+".join(f"p{i}*x" for i in range(MOST_PARAMETERS + 1))],
)  # fmt: skip
def test_what_is_no_formula_is_refused(text: object) -> None:
    with pytest.raises(FormulaError, match="formula"):
        formula_of(text)


@pytest.mark.parametrize("values", [[1], {"a": "1"}, {"a": True}, {"a": float("nan")}, {"a": 1e999}, {"a": None}])
def test_what_is_no_value_is_refused(values: object) -> None:
    with pytest.raises(FormulaError, match="parameter"):
        formula_of("a*x", values)


def test_laws() -> None:
    assert law_of("normal(0,2)") == Normal(0.0, 2.0)
    for bad in (
        "/etc/passwd.txt",
        "samples.npy",
        "normal" * 99,
        3,
        None,
        "gamma",
        {"centres": []},
        {"law": "empirical"},
    ):
        with pytest.raises(LawError):
            law_of(bad)


def test_samples_go_there_and_back() -> None:
    drawn = np.random.default_rng(0).normal(1.0, 2.0, (40, 50)).astype(np.float32)
    law = samples_law(npy(drawn))
    assert law.mean == pytest.approx(drawn.mean(), abs=0.05)
    assert law_of(law.to_dict()) == law
    hostile = law.to_dict() | {"centres": [0.0] * 5000}
    with pytest.raises(ActsmithError):
        law_of(hostile)


@pytest.mark.parametrize(
    "content",
    [b"", b"\x93NUMPY", b"PK\x03\x04", npy(np.arange(300.0))[:-8], npy(np.array(["a"] * 300)),
     npy(np.arange(300.0)).replace(b"(300,)", b"(900,)"), npy(np.zeros(300)), npy(np.arange(5.0))],
)  # fmt: skip
def test_what_holds_no_samples_is_refused(content: bytes) -> None:
    with pytest.raises(LawError):
        samples_law(content)
