"""Actsmith: the workbench for finding better activation functions.

Entropy says where to go, criticality says what survives depth, training decides. The public names below load on first
use: `import actsmith` imports neither torch nor sympy.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "ActsmithError": "errors",
    "FormulaError": "errors",
    "LawError": "errors",
    "NumericsError": "errors",
    "Formula": "formula.formula",
    "Param": "formula.formula",
    "CATALOGUE": "formula.catalogue",
    "get": "formula.catalogue",
    "resolve": "formula.catalogue",
    "Normal": "theory.laws",
    "Logistic": "theory.laws",
    "Laplace": "theory.laws",
    "StudentT": "theory.laws",
    "Uniform": "theory.laws",
    "Mixture": "theory.laws",
    "Empirical": "theory.laws",
    "resolve_law": "theory.laws",
    "entropy": "theory.entropy",
    "worst": "theory.eafo",
    "correction": "theory.eafo",
    "improve": "theory.eafo",
    "flow": "theory.descent",
    "inverse_error": "theory.proposition",
    "criticality": "theory.criticality",
    "kernel_flow": "theory.kernel",
    "susceptibilities": "theory.kernel",
    "analyze": "theory.analysis",
    "rank": "theory.analysis",
    "screen": "theory.screen",
    "tune": "theory.tuning",
    "correlation_map": "theory.correlation",
    "correlation_flow": "theory.correlation",
    "depth_scales": "theory.correlation",
    "phase_diagram": "theory.phase",
    "ntk_flow": "theory.recursions",
    "vertex_flow": "theory.recursions",
    "simulate": "nn.simulate",
    "probe": "surgery.probe",
    "ProbeEvery": "surgery.probe",
    "sites": "surgery.sites",
    "replace_": "surgery.replace",
    "calibrate": "surgery.calibrate",
    "Blend": "surgery.blend",
    "advise": "surgery.advise",
    "reproduce": "experiments.reproduce",
}

__all__ = ["__version__", "nn", "search", *_HOME]  # noqa: PLE0604  (the names of a dict of strings)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(f"actsmith.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    if name in ("nn", "search"):
        return importlib.import_module(f"actsmith.{name}")
    raise AttributeError(f"module 'actsmith' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
