"""The page shows the theory's own numbers."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

import actsmith as acts
from actsmith.app import atlas, depths, exits
from actsmith.app.views import function_view, verdict_view
from actsmith.display import COLUMN
from actsmith.errors import ActsmithError
from actsmith.theory.kernel import kernel_flow, susceptibilities

SIX = 1e-5


def test_the_first_tab_shows_what_analyze_finds() -> None:
    shown = function_view("x*sigmoid(b*x)", {"b": 1.7}, "normal(0.5,2)")
    found = acts.analyze(acts.Formula("x*sigmoid(b*x)", {"b": 1.7}), "normal(0.5,2)")
    assert shown["entropy"] == found.entropy.to_dict()
    assert shown["criticality"] == found.criticality.to_dict()
    said = verdict_view("x*sigmoid(b*x)", {"b": 1.7}, "normal(0.5,2)")
    assert said["verdict"]["sentence"] == found.judgement.sentence
    x = np.array(shown["shape"]["x"])
    np.testing.assert_allclose(shown["shape"]["curves"][0], found.formula(x), rtol=1e-4, atol=1e-4)
    gelu = shown["shape"]["ghosts"]["gelu"]
    np.testing.assert_allclose(
        gelu["curves"][0], acts.get_activation("gelu")(np.array(gelu["x"])), rtol=1e-4, atol=1e-4
    )
    point, depth = found.criticality.points[0], shown["depth"]
    flow = kernel_flow(found.formula, depth["starts"], 50, point.C_W, point.C_b)
    np.testing.assert_allclose(np.array(depth["kernel"]).T, flow, rtol=SIX)
    assert depth["chi_par"][2][-1] == pytest.approx(
        susceptibilities(found.formula, flow[-1, 2], point.C_W).chi_par, rel=SIX
    )
    json.dumps(shown, allow_nan=False)


def test_the_output_has_mass_one() -> None:
    for name, atoms in (("gelu", 0.0), ("relu", 0.5), ("sigmoid", 0.0)):
        output = function_view(name)["output"]
        area = sum(np.trapezoid(s["q"], s["z"]) for s in output["stretches"])
        mass = sum(atom["mass"] for atom in output["atoms"])
        assert mass == pytest.approx(atoms)
        assert area + mass == pytest.approx(1.0, abs=0.03), name  # what is cut at a pole, and beyond the window


def test_what_cannot_be_computed_says_why_and_the_rest_is_there() -> None:
    constant = function_view("3")
    assert "carries no information" in constant["entropy"]["reason"]
    assert constant["shape"]["curves"][0][0] == 3.0
    with pytest.raises(ActsmithError, match="no information"):
        verdict_view("3")
    step = function_view("step(x)")
    assert "no C_W" in step["depth"]["reason"]
    kinked = function_view("relu")["shape"]
    assert None in kinked["curves"][1]  # the slope is interrupted at 0
    assert function_view("tanh(x)", law="cauchy")["shape"]["x"][-1] < 100


def test_a_slider_holds_its_value_and_the_range_of_its_parameter() -> None:
    parameters = {p["name"]: p for p in function_view("pelu")["formula"]["parameters"]}
    for name, p in acts.get_activation("pelu").params.items():
        assert parameters[name]["low"] <= p.value <= parameters[name]["high"]
        assert parameters[name]["low"] >= p.low
        assert parameters[name]["high"] <= p.high


def test_the_map_has_the_catalogue_and_mine(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("relu", "gelu", "mrepu", "hardshrink")
    monkeypatch.setattr(atlas, "CATALOGUE", {name: acts.CATALOGUE[name] for name in names})
    shown = atlas.map_view()
    points = {point["name"]: point for point in shown["points"]}
    assert set(points) == set(names)
    for point in points.values():
        assert set(shown["quantities"]) <= set(point)
    assert points["gelu"]["smoothed"] == pytest.approx(acts.entropy("gelu").smoothed, abs=SIX)
    assert points["gelu"]["K"] == pytest.approx(acts.criticality("gelu").points[0].K, rel=SIX)
    assert points["mrepu"]["safe"] == acts.criticality("mrepu").safe_depth(1.0, limit=2000)
    assert points["hardshrink"]["gain"] is None  # it jumps
    mine = atlas.place_view("x*sigmoid(b*x)", {"b": 1.0})
    assert mine["smoothed"] == pytest.approx(acts.entropy("silu").smoothed, abs=SIX)


def test_the_depth_lab_agrees_with_theory_and_with_networks() -> None:
    setting = {"depth": 6, "width": 256, "K0": 2.0, "rho0": 0.3}
    line = depths.theory_view("relu", start="kaiming", **setting)
    assert line["kernel"] == pytest.approx([2.0] * 7)
    assert line["gradient"] == pytest.approx([1.0] * 7)
    assert line["band"]["low"][-1] < 2.0 < line["band"]["high"][-1]
    dots = depths.simulation_view("relu", start="kaiming", nets=48, **setting)
    for name, theory in (("kernel", line["kernel"]), ("correlation", line["correlation"]["values"])):
        off = np.abs(np.array(dots[name]) - theory) / (np.array(dots[f"{name}_error"]) + 0.02)
        assert off.max() < 4, name
    own = depths.theory_view("gelu", start="own", C_W=0.5, C_b=0.1, depth=3)
    np.testing.assert_allclose(own["kernel"], kernel_flow("gelu", 1.0, 3, 0.5, 0.1), rtol=SIX)


def test_a_kernel_that_explodes_is_followed_as_far_as_it_is_known() -> None:
    lost = depths.theory_view("mrepu", depth=20, K0=1.0)
    known = lost["known"]
    assert 1 < known < 20
    assert lost["kernel"][known] is None or lost["kernel"][known] > 1e8
    assert None not in lost["correlation"]["values"][:known] + lost["chi_perp"][:known]
    assert set(lost["correlation"]["values"][known:]) == {None}
    assert len(lost["chi_par"]) == len(lost["gradient"]) == 21


@pytest.mark.parametrize(
    "setting",
    [{"depth": 101}, {"depth": 0}, {"depth": 2.5}, {"width": 10_000}, {"start": "best"}, {"start": "own", "C_W": -1},
     {"K0": 1e9}, {"rho0": 2}, {"K0": "1"}],
)  # fmt: skip
def test_the_depth_lab_refuses_what_is_out_of_range(setting: dict[str, object]) -> None:
    with pytest.raises(ActsmithError):
        depths.theory_view("gelu", **setting)


def test_no_critical_point_is_said() -> None:
    with pytest.raises(ActsmithError, match="no critical point"):
        depths.theory_view("repu")


def test_the_exits_run() -> None:
    shown = exits.exits_view("x*sigmoid(b*x)", {"b": 1.5})
    assert "--param b=1.5" in shown["command"]
    assert shown["latex"] == r"x \sigma\left(b x\right)"
    assert "@software{actsmith" in shown["bibtex"]
    module: dict[str, object] = {}
    exec(shown["file"], module)  # noqa: S102  (what the page gives out)
    assert "init_" in module
    names: dict[str, object] = {"model": acts.nn.Activation("relu")}
    exec(shown["module"].partition("acts.nn.critical_init_")[0], names)  # noqa: S102
    torch = pytest.importorskip("torch")
    x = torch.linspace(-3, 3, 7)
    torch.testing.assert_close(names["activation"](x), module["MyActivation"]()(x))  # type: ignore[operator]


def test_the_figure_is_a_pdf_of_a_column_with_letters_that_journals_take() -> None:
    found = exits.figure_view("x*sigmoid(b*x)", {"b": 1.5}, "normal(0,2)")
    assert found.startswith(b"%PDF-")
    assert b"/Subtype /Type0" in found  # TrueType
    assert b"/Subtype /Type3" not in found
    assert f"/MediaBox [ 0 0 {72 * COLUMN:.4g} ".encode() in found
    assert found == exits.figure_view("x*sigmoid(b*x)", {"b": 1.5}, "normal(0,2)")
    with pytest.raises(ActsmithError, match="no information"):
        exits.figure_view("3")


def test_places_of_the_measured_table_are_on_the_map(monkeypatch: pytest.MonkeyPatch) -> None:
    class Table:
        common = (SimpleNamespace(name="digits"),)

        def __len__(self) -> int:
            return 7

        def place(self, formula: object) -> object:
            return SimpleNamespace(place=3.5, estimated=formula != acts.get_activation("gelu"))

    monkeypatch.setattr(atlas, "CATALOGUE", {name: acts.CATALOGUE[name] for name in ("gelu", "relu")})
    monkeypatch.setattr(atlas, "measured", Table)
    atlas._place.cache_clear()
    shown = atlas.map_view()
    atlas._place.cache_clear()
    assert shown["measured"] == {"of": 7, "tasks": ["digits"]}
    assert [(p["place"], p["estimated"]) for p in shown["points"]] == [(3.5, False), (3.5, True)]
