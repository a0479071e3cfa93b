"""The model sweep: nothing that a swap for a model's own formulas leaves may differ."""

from __future__ import annotations

import pytest
import sweep


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("package", "least"), [("torchvision", 15), ("timm", 100), ("transformers", 80)])
def test_sweep(package: str, least: int) -> None:
    pytest.importorskip(package)
    rows = [row for row in (sweep.sweep(*one) for one in sweep.PACKAGES[package]()) if row is not None]
    assert not [str(row) for row in rows if row.wrong is not None]
    assert len(rows) >= least
