"""Every result shows itself: short text, HTML that is whole, a figure for a column with nothing outside its canvas."""

from html.parser import HTMLParser
from io import StringIO
from pathlib import Path

import pytest
import torch
from torch import nn

import actsmith as acts
from actsmith.errors import ActsmithError
from actsmith.search.result import SearchResult
from actsmith.training.problem import Metric
from actsmith.trials.compare import Comparison
from actsmith.trials.tables import Row, Table

NAMED = "a <b>& name that is long enough to be cut wherever it stands"


class Checked(HTMLParser):
    """Elements that close in their order; the words between them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.names: set[str] = set()
        self.words = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)
        self.names.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def formula() -> acts.Formula:
    return acts.Formula("max(0, x) + eps*x*exp(-x**2/2)", {"eps": acts.Param(0.05, learn=True)}, NAMED)


def comparison(log: bool = False) -> Comparison:
    def row(name: str, mean: float | None, gain: float | None) -> Row:
        mine = (None, None, None) if mean is None else (mean, 0.99 * mean, 1.012 * mean)
        beside = (None, None, None) if gain is None else (gain, gain - 0.004, gain + 0.004)
        return Row(name, (mean,) * 5, *mine, *beside, None if gain is None else 0.01, None, 0.1, False, 0.1, 0,
                   5 * (mean is None))  # fmt: skip

    rows = (row(NAMED, 0.9212345, 0.0212345), row("relu", 0.9, None), row("gelu", 0.89, -0.01), row("cube", None, None))
    table = Table("digits", "digits: relu and others", Metric("loss", "lower" if log else "higher", log), "relu", rows)
    return Comparison(Path("runs/none"), table, f"{NAMED} is better than relu.")


def found() -> SearchResult:
    def row(name: str, kind: str, validation: float | None, gain: float | None) -> dict[str, object]:
        score = None if gain is None and kind != "start" else validation
        row = {"name": name, "kind": kind, "validation": validation, "confirmed": score, "score": score}
        row |= {"low": score and score - 0.003, "high": score and score + 0.003, "difference": gain}
        ends = {"difference_low": -0.004, "difference_high": 0.004}
        return row | {end: None if gain is None else gain + by for end, by in ends.items()}

    rows = (
        row(NAMED, "candidate", 0.95, 0.012), row("gelu", "known", 0.948, 0.006), row("relu", "start", 0.941, None),
        row("sin", "known", 0.1, None), row("cube", "known", None, None),
    )  # fmt: skip
    return SearchResult(Path("runs/none"), "digits", "relu", rows, f"{NAMED} is better.", formula(), ("gelu",), (), ())


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 1))


MAKE = {
    "Formula": formula,
    "Analysis": lambda: acts.analyze(formula()),
    "Entropy": lambda: acts.entropy(formula()),
    "Criticality": lambda: acts.criticality("gelu"),
    "Correction": lambda: acts.correction("relu"),
    "Probe": lambda: acts.probe(model(), torch.randn(200, 4)),
    "Swaps": lambda: acts.replace_(model(), formula(), example=torch.randn(2, 4)),
    "SearchResult": found,
    "Comparison": comparison,
}


@pytest.fixture(scope="module", params=list(MAKE))
def result(request):
    made = MAKE[request.param]()
    assert type(made).__name__ == request.param
    return made


def test_its_text_is_short_and_no_dump(result) -> None:
    text = str(result)
    assert f"{type(result).__name__}(" not in text
    assert 0 < text.count("\n") + 1 <= 30
    assert len(text) < 3000


def test_its_repr_is_a_line(result) -> None:
    text = repr(result)
    assert text.count("\n") == 0
    assert len(text) < 180
    assert type(result).__name__ in text


def test_its_html_is_whole_and_escaped(result) -> None:
    text = result._repr_html_()
    page = Checked(text)
    assert "b" not in page.names
    assert not {"script", "style", "link"} & page.names
    if isinstance(result, acts.Formula | Comparison | SearchResult):
        assert NAMED in page.words


@pytest.mark.filterwarnings("error")
def test_its_figure_has_nothing_outside_its_canvas(result) -> None:
    figure = result.plot()
    assert figure.get_size_inches()[0] == 3.3
    buffer = StringIO()
    figure.savefig(buffer, format="svg")
    assert "<svg" in buffer.getvalue()
    width, height = figure.get_size_inches()
    inside = figure.get_tightbbox()
    assert 0 <= inside.x0 < inside.x1 <= width
    assert 0 <= inside.y0 < inside.y1 <= height
    assert min(t.get_fontsize() for t in figure.findobj(lambda a: hasattr(a, "get_fontsize")) if t.get_text()) >= 5.5


@pytest.mark.slow
@pytest.mark.parametrize("name", list(acts.CATALOGUE))
def test_the_catalogue_is_drawn_inside_its_canvas(name: str) -> None:
    analysis = acts.analyze(name)
    for result in (analysis, analysis.entropy, analysis.criticality):
        if name == "hardshrink" and result is analysis.criticality:
            continue  # no gradients to follow
        figure = result.plot()
        figure.savefig(StringIO(), format="svg")
        inside, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
        assert min(inside.x0, inside.y0, width - inside.x1, height - inside.y1) >= 0


def test_a_logarithmic_comparison_is_drawn_and_the_users_style_is_left_alone() -> None:
    import matplotlib as mpl

    with mpl.rc_context({"font.size": 20, "axes.grid": False}):
        before = dict(mpl.rcParams)
        figure = comparison(log=True).plot(width=5)
        svg = figure._repr_svg_()
        assert dict(mpl.rcParams) == before
    assert svg == comparison(log=True).plot(width=5)._repr_svg_()


def test_what_cannot_be_drawn_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ActsmithError, match="width=0; expected inches"):
        formula().plot(width=0)
    with pytest.raises(ActsmithError, match="keeps no gradients"):
        acts.criticality("step(x)").plot()
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(ActsmithError, match=r"matplotlib is missing; pip install 'actsmith\[report\]'"):
        formula().plot()
    assert NAMED in str(formula())


def test_numbers_have_the_digits_that_mean_something() -> None:
    f = acts.Formula("0.12345678901234567*x + tanh(b*x)/3", {"b": 0.1 + 0.2})
    assert str(f).splitlines() == ["f(x) = 0.12345679*x + tanh(b*x)/3", "  b  0.3 (fixed)"]
    assert f._repr_latex_() == r"$\displaystyle 0.12345679 x + \frac{\tanh\left(b x\right)}{3}$"
    assert "0.921</td><td" in comparison()._repr_html_().replace(
        ' style="padding:.15em .8em .15em 0;text-align:left;vertical-align:top"', ""
    )
    e = acts.entropy("relu")
    assert f"mixed         {e.mixed:+.9f} " in str(e)


def test_entropy_alone_orders_nothing() -> None:
    for text in (str(acts.analyze("mrepu")), acts.analyze("mrepu")._repr_html_()):
        assert "Entropy alone orders nothing" in text
        assert "lower is better" not in text
