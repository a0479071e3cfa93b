"""The page of an analysis: whole, readable without scripts or network, and saying what the record says or why not."""

import re
import sys
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import actsmith.report
from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import CATALOGUE, get_activation
from actsmith.formula.formula import Formula, Param
from actsmith.report.analysis_figure import plot_laws, plot_shape, svg
from actsmith.report.analysis_page import analysis_page
from actsmith.report.html import inline_svg, write_page
from actsmith.report.mathml import mathml
from actsmith.theory.analysis import analyze
from actsmith.theory.eafo import correction, worst_activation
from actsmith.theory.laws import Empirical

VOID = {"meta", "br", "hr", "img", "input", "link"}


class Page(HTMLParser):
    """What a reader's browser makes of a page: its elements, its tables row by row, its words."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.rows, self.words = [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "svg" in self.open or "style" in self.open or "details" in self.open:
            return
        self.words.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def row(self, first):
        (found,) = (row for row in self.rows if row[0] == first)
        return found

    def of(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def gelu():
    return analysis_page(analyze("gelu"))


@pytest.fixture(scope="module")
def relu():
    return analysis_page(analyze("relu"))


def test_nothing_comes_from_elsewhere(gelu):
    page = Page(gelu)
    assert not {"script", "link", "img", "iframe", "object", "base", "form"} & {tag for tag, _ in page.elements}
    for _, attributes in page.elements:
        assert not attributes.get("src")
        assert not any(name.startswith("on") for name in attributes)
        for name in ("href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#")
    assert "@import" not in gelu
    assert set(re.findall(r"url\((.)", gelu)) <= {"#"}


def test_it_can_be_read_by_all(gelu):
    page = Page(gelu)
    assert page.of("html") == [{"lang": "en"}]
    for landmark in ("header", "main", "nav", "footer", "h1", "title"):
        assert len(page.of(landmark)) == 1
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    named = [attributes["aria-labelledby"] for attributes in page.of("section")]
    assert len(named) == 4
    assert set(named) <= set(ids)
    assert {a["href"][1:] for a in page.of("a")} <= set(ids)
    pictures = [a for tag, a in page.elements if tag == "div" and a.get("role") == "img"]
    assert len(pictures) == len(page.of("svg")) == len(page.of("figcaption")) == 4
    assert all(len(a["aria-label"]) > 20 for a in pictures)
    assert len(page.of("caption")) == len(page.of("table"))
    assert all(attributes["scope"] in ("row", "col") for attributes in page.of("th"))
    assert {len(row) for row in page.rows} <= {3, 4, 5, 8}
    assert all(attributes["alttext"] for attributes in page.of("math"))


def _luminance(colour):
    colour = "".join(2 * c for c in colour[1:]) if len(colour) == 4 else colour[1:]
    channels = np.array([int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4)])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("scheme", [0, 1])
def test_text_stands_out_in_both_schemes(gelu, scheme):
    """WCAG 2.2, criterion 1.4.3: 4.5 to 1."""
    light, dark = re.findall(r":root\{(.*?)\}", gelu)
    colours = dict(re.findall(r"--(\w+):(#\w+)", (light, dark)[scheme]))
    for text in ("ink", "muted"):
        for ground in ("paper", "soft"):
            bright, dim = sorted((_luminance(colours[text]), _luminance(colours[ground])), reverse=True)
            assert (bright + 0.05) / (dim + 0.05) >= 4.5, (text, ground)


def test_figures_follow_the_scheme(gelu):
    for colour in ("#000000", "#ffffff", "#e6e6e6"):
        assert f": {colour}" not in gelu
    assert "stroke: currentColor" in gelu
    assert "fill: var(--paper,#fff)" in gelu


def test_the_first_screen_has_the_verdict_and_a_picture(gelu):
    analysis = analyze("gelu")
    before, _, after = gelu.partition("<svg")
    assert analysis.judgement.sentence in Page(gelu).text
    assert unescape(analysis.judgement.settle) in unescape(before)
    assert "<table" not in before
    assert "<h2" in after


def test_every_number_is_that_of_the_record(gelu):
    page, analysis = Page(gelu), analyze("gelu")
    e, c = analysis.entropy, analysis.criticality
    for name in ("differential", "mixed", "scale_free", "smoothed"):
        assert page.row(name.replace("_", "-"))[2] == f"{getattr(e, name):+.9f}"
    for point in c.points:
        row = page.row(f"{point.K:.9g}")
        assert row[1:4] == [f"{point.C_W:.9g}", f"{point.C_b:.9g}", point.stability]
        depth = c.safe_depth(0.01, point.C_W, point.C_b)
        assert row[5] == ("at least 10000" if depth >= 10_000 else f"{depth} layers")
    assert page.row("a1: K' = K + a1 K² + ... at small K")[1] == f"{c.a1:.9g}"
    assert page.row("K where deep networks settle beside the critical one")[1] == f"{c.settles.K:.9g}"
    assert page.text.count(c.verdict) == 2  # at a glance and in detail
    assert f"{e.smoothed:+.4f} nats" in page.text
    rate = correction("gelu").smoothed_rate
    assert page.row("dJ/deps (smoothed)")[1:4] == [f"{rate:+.6g}", f"{-0.01 * rate:+.3g}", f"{0.01 * rate:+.3g}"]
    record = re.search(r"<pre>(.*)</pre>", gelu, flags=re.DOTALL)
    assert '"universality": "half_stable"' in unescape(record[1])


def test_the_correction_of_relu_in_both_signs(relu):
    page = Page(relu)
    assert page.row("dH/deps (entropy)")[1:4] == ["+0.353553", "-0.00354", "+0.00354"]
    assert "descend: the theory's (eps = -0.01)" in page.text
    assert "published: the paper's (eps = +0.01)" in page.text
    assert correction("relu").note in page.text
    assert mathml(correction("relu").psi) in relu


def test_what_is_undefined_says_why(relu):
    page, e = Page(relu), analyze("relu").entropy
    for name in ("differential", "scale_free"):
        assert page.row(name.replace("_", "-"))[2:] == ["undefined", e.reasons[name]]
    assert "a single value" in relu
    assert "Entropy alone orders nothing" in page.text
    assert "lower is better" not in page.text


@pytest.mark.parametrize(
    ("formula", "law", "words"),
    [
        (
            "sigmoid",
            "normal",
            ["Nothing is critical; the pictures are drawn where gradients are kept", "Never critical"],
        ),
        ("repu", "student:3", ["undefined: the output has no finite variance", "1.5", "RePU: g(K) grows like K^p"]),
        ("hardshrink", "normal", ["No picture over the layers", "chi_perp is infinite", "Points: f jumps"]),
        ("erf(x/sqrt(2))", "normal", ["There is none: ", "is stationary", "within"]),
        ("sin", "student:3", ["There is none: sin folds", "more than 64", "not resolved"]),
        ("relu", "uniform:5,6", ["stationary", "scale_invariant"]),
        ("step(x)", "normal", ["There is none: ", "flat everywhere", "100.0000%"]),
        ("1/x", "normal", ["no finite variance"]),
        ("relu_squared", "normal", ["see remark", "E[psi'/f'] does not converge", "E psi^2 does not converge"]),
        ("elu", "student:3", ["see remark", "does not converge in the left tail"]),
        ("identity", "normal", ["that of the line f(x) = x"]),
    ],
)
def test_corner_cases_are_pages_with_reasons(formula, law, words):
    text = Page(analysis_page(analyze(formula, law))).text
    for word in words:
        assert word in text
    assert not {"nan", "inf", "None"} & set(re.split(r"[^\w.+-]+", text.replace("0 to inf", "")))


def test_a_measured_law_and_its_worst_activation():
    law = Empirical(np.random.default_rng(0).normal(size=2000))
    page = analysis_page(analyze(worst_activation(law), law))
    assert "<mi>spline</mi>" in page
    assert (
        "psi(x), as a spline, because the law has no closed density" in Page(analysis_page(analyze("tanh", law))).text
    )


def test_parameters_are_listed_and_text_is_escaped():
    f = Formula("a*x*sigmoid(b*x)", {"a": Param(0.5, learn=True), "b": Param(2.0, low=0.0)}, "<b>&\"it's")
    text = analysis_page(analyze(f))
    page = Page(text)
    assert page.row("a") == ["a", "0.5", "learned", "any"]
    assert page.row("b") == ["b", "2", "fixed", "0 to inf"]
    assert "<b>" not in text
    assert "<b>&\"it's" in page.text


def test_the_same_analysis_gives_the_same_page(relu):
    assert analysis_page(analyze("relu")) == relu


def test_kinks_and_densities_are_drawn():
    shape, laws = (svg(plot, analyze("hardtanh")) for plot in (plot_shape, plot_laws))
    for text in (shape, laws):
        assert len(text) < 100_000  # a rule has ten thousand nodes, the picture a thousand
    assert ElementTree.fromstring(shape).tag.endswith("svg")
    assert shape.lower().count("#d55e00") > svg(plot_shape, analyze("tanh")).lower().count("#d55e00")
    assert "more than 64" in re.sub(r"<[^>]*>\s*", " ", svg(plot_laws, analyze("sin", "student:3")))


def test_figures_of_one_page_share_no_id():
    text = svg(plot_shape, analyze("relu"))
    one, other = (inline_svg(text, name) for name in ("one", "other"))
    ids = [set(re.findall(r'\bid="([^"]*)"', part)) for part in (one, other)]
    assert ids[0]
    assert not ids[0] & ids[1]
    assert set(re.findall(r"url\(#([^)]*)\)", one)) <= ids[0]
    assert "<metadata>" not in one


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_formula_is_well_formed_mathml(name):
    f = get_activation(name)
    for expression in (f.expr, f.derivative(1).expr):
        math = ElementTree.fromstring(mathml(expression))
        assert math.get("display") == "block"
        assert not set(re.findall(r"&\w+;", mathml(expression)))


def test_mathml_is_written_as_people_write():
    assert "".join(ElementTree.fromstring(mathml(get_activation("relu").expr)).itertext()) == "max(0,x)"
    words = "".join(ElementTree.fromstring(mathml(get_activation("hardshrink").expr)).itertext())
    assert words == "{xif \u2212lambd+|x|>00otherwise"
    crrelu = mathml(get_activation("crrelu").expr)
    assert "<msup><mi>e</mi><mrow><mo>\u2212</mo>" in crrelu  # eps x exp(-x^2/2), not a quotient
    assert "<mn>1.702</mn>" in mathml(get_activation("quick_gelu").expr)


@pytest.mark.parametrize("missing", ["matplotlib", "jinja2"])
def test_a_missing_extra_gives_one_line(monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ActsmithError, match=rf"{missing} is missing; pip install 'actsmith\["):
        analysis_page(analyze("relu"))


@pytest.mark.parametrize("path", ["no/such/page.html", ".", "there"])
def test_a_file_that_cannot_be_written(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    with pytest.raises(ActsmithError, match=f"--html: cannot write '{path}'"):
        write_page(Path(path), "page")
    assert [p.name for p in tmp_path.iterdir()] == ["there"]


def test_the_template_is_shared():
    templates = Path(actsmith.report.__file__).parent / "templates"
    for name in ("analysis.html", "findings.html"):
        assert (templates / name).read_text().startswith('{% extends "page.html" %}')


@pytest.mark.slow
@pytest.mark.parametrize("law", ["normal", "laplace", "student:3", "uniform:-1,1"])
@pytest.mark.parametrize("name", CATALOGUE)
def test_every_activation_has_a_page_under_every_law(name, law):
    page = Page(analysis_page(analyze(name, law)))
    assert len(page.of("section")) == 4
    assert not {"nan", "None"} & set(re.split(r"[^\w.+-]+", page.text))
