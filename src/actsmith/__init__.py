"""Actsmith: the workbench for finding better activation functions.

Entropy says where to go, criticality says what survives depth, training decides. The public names below load on first
use: `import actsmith` imports neither torch nor sympy.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from actsmith.display import drawn_by

__version__ = "0.2.0"

if TYPE_CHECKING:  # the same names for type checkers and editors; a test holds the two lists together
    from actsmith import nn as nn
    from actsmith.errors import ActsmithError as ActsmithError
    from actsmith.errors import FormulaError as FormulaError
    from actsmith.errors import LawError as LawError
    from actsmith.errors import NumericsError as NumericsError
    from actsmith.formula.catalogue import CATALOGUE as CATALOGUE
    from actsmith.formula.catalogue import get_activation as get_activation
    from actsmith.formula.catalogue import resolve as resolve
    from actsmith.formula.formula import Formula as Formula
    from actsmith.formula.formula import Param as Param
    from actsmith.nn.simulate import simulate as simulate
    from actsmith.papers.reproduce import reproduce as reproduce
    from actsmith.search.run import search as search
    from actsmith.surgery.advise import advise as advise
    from actsmith.surgery.blend import Blend as Blend
    from actsmith.surgery.probe import ProbeEvery as ProbeEvery
    from actsmith.surgery.probe import probe as probe
    from actsmith.surgery.replace import replace_ as replace_
    from actsmith.surgery.sites import sites as sites
    from actsmith.surgery.swaps import calibrate_ as calibrate_
    from actsmith.theory.analysis import analyze as analyze
    from actsmith.theory.analysis import rank as rank
    from actsmith.theory.correlation import correlation_flow as correlation_flow
    from actsmith.theory.correlation import correlation_map as correlation_map
    from actsmith.theory.correlation import depth_scales as depth_scales
    from actsmith.theory.criticality import criticality as criticality
    from actsmith.theory.descent import entropy_flow as entropy_flow
    from actsmith.theory.eafo import correction as correction
    from actsmith.theory.eafo import improve as improve
    from actsmith.theory.eafo import worst_activation as worst_activation
    from actsmith.theory.entropy import entropy as entropy
    from actsmith.theory.kernel import kernel_flow as kernel_flow
    from actsmith.theory.kernel import susceptibilities as susceptibilities
    from actsmith.theory.laws import Empirical as Empirical
    from actsmith.theory.laws import Laplace as Laplace
    from actsmith.theory.laws import Logistic as Logistic
    from actsmith.theory.laws import Mixture as Mixture
    from actsmith.theory.laws import Normal as Normal
    from actsmith.theory.laws import StudentT as StudentT
    from actsmith.theory.laws import Uniform as Uniform
    from actsmith.theory.laws import resolve_law as resolve_law
    from actsmith.theory.phase import phase_diagram as phase_diagram
    from actsmith.theory.proposition import inverse_error as inverse_error
    from actsmith.theory.recursions import ntk_flow as ntk_flow
    from actsmith.theory.recursions import vertex_flow as vertex_flow
    from actsmith.theory.screen import screen as screen
    from actsmith.theory.tuning import critical_form as critical_form
    from actsmith.trials.compare import compare as compare

_NAMES = {
    "errors": "ActsmithError FormulaError LawError NumericsError",
    "formula.formula": "Formula Param",
    "formula.catalogue": "CATALOGUE get_activation resolve",
    "theory.laws": "Normal Logistic Laplace StudentT Uniform Mixture Empirical resolve_law",
    "theory.entropy": "entropy",
    "theory.eafo": "worst_activation correction improve",
    "theory.descent": "entropy_flow",
    "theory.proposition": "inverse_error",
    "theory.criticality": "criticality",
    "theory.kernel": "kernel_flow susceptibilities",
    "theory.analysis": "analyze rank",
    "theory.screen": "screen",
    "theory.tuning": "critical_form",
    "theory.correlation": "correlation_map correlation_flow depth_scales",
    "theory.phase": "phase_diagram",
    "theory.recursions": "ntk_flow vertex_flow",
    "nn.simulate": "simulate",
    "surgery.probe": "probe ProbeEvery",
    "surgery.sites": "sites",
    "surgery.replace": "replace_",
    "surgery.swaps": "calibrate_",
    "surgery.blend": "Blend",
    "surgery.advise": "advise",
    "search.run": "search",
    "papers.reproduce": "reproduce",
    "trials.compare": "compare",
}
_HOME = {name: module for module, names in _NAMES.items() for name in names.split()}
_RENAMED = {
    "get": "get_activation",
    "worst": "worst_activation",
    "flow": "entropy_flow",
    "tune": "critical_form",
    "calibrate": "calibrate_",
}
"""The names of the release before."""

drawn_by("actsmith.report.show")

__all__ = ["__version__", "nn", *_HOME]  # noqa: PLE0604  (the names of a dict of strings)


if not TYPE_CHECKING:

    def __getattr__(name):
        if name in _RENAMED:
            import warnings

            message = f"actsmith.{name} is now actsmith.{_RENAMED[name]}; the old name goes with the next release"
            warnings.warn(message, DeprecationWarning, stacklevel=2)
            return getattr(sys.modules[__name__], _RENAMED[name])
        if name == "nn":
            return _loaded("nn", name)
        if name not in _HOME:
            raise AttributeError(f"module 'actsmith' has no attribute {name!r}")
        value = getattr(_loaded(_HOME[name], name), name)
        globals()[name] = value
        return value

    def _loaded(module, name):
        from actsmith.errors import missing_core

        try:
            return import_module(f"actsmith.{module}")
        except ModuleNotFoundError as error:
            raise missing_core(f"actsmith.{name}", error) or error from None


def __dir__() -> list[str]:
    return sorted(__all__)


class _Package(ModuleType):
    """`actsmith.search` is the function, also after the import system has set the folder of that name here.

    The function shows the folder's modules that are loaded, so that `import actsmith.search.run as run` works too.
    """

    @property
    def search(self) -> object:
        found = getattr(import_module(f"actsmith.{_HOME['search']}"), "search")  # noqa: B009
        folder = vars(sys.modules["actsmith.search"])
        vars(found).update({name: value for name, value in folder.items() if isinstance(value, ModuleType)})
        return found

    @search.setter
    def search(self, folder: ModuleType) -> None:
        """What the import system does after `import actsmith.search`: nothing to keep, `sys.modules` has it."""


sys.modules[__name__].__class__ = _Package
