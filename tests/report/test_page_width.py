"""On a telephone nothing of a page is wider than the screen, and a picture is on the first one."""

import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

import actsmith as acts
from actsmith.report.analysis_page import analysis_page
from actsmith.report.probe_page import probe_page
from actsmith.report.rejudge import rejudge

PUBLISHED = Path(__file__).parents[2] / "docs" / "results" / "mrepu-polynomial" / "findings.json"


def analysis(folder):
    f = acts.Formula("0.123456*x*sigmoid(1.7654321*x)*exp(-x**2/20) + log1p(exp(x))/3", name="a" * 60)
    (folder / "index.html").write_text(analysis_page(acts.analyze(f)))


def probe(folder):
    net = nn.Sequential(*[layer for _ in range(8) for layer in (nn.Linear(16, 16), nn.GELU())])
    found = acts.probe(net, torch.randn(300, 16)).to_dict()
    (folder / "index.html").write_text(probe_page({"before": found, "after": found}, "a_module:" * 9))


def reproduction(folder):
    shutil.copy(PUBLISHED, folder)
    rejudge(folder)


@pytest.mark.slow
@pytest.mark.parametrize("made", [analysis, probe, reproduction], ids=lambda f: f.__name__)
def test_a_page_fits_a_phone(made, tmp_path, on_a_phone):
    made(tmp_path)
    seen = on_a_phone(tmp_path / "index.html")
    assert seen["width"] <= 390
    assert seen["picture"] < 844
    assert seen["said"] == []
