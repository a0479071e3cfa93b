"""Torch modules from formulas."""

from actsmith.nn.activation import Activation, CRReLU, MRePU, RePU
from actsmith.nn.backend import backend
from actsmith.nn.callbacks import lightning_callback, trainer_callback
from actsmith.nn.entropy_descent import EntropyDescent, cosine
from actsmith.nn.hermite import HermiteActivation, hermite_formula
from actsmith.nn.init import InitReport, LayerInit, critical_init_
from actsmith.nn.jets import biharmonic, derivatives, jet, laplacian
from actsmith.nn.kan import KANLinear
from actsmith.nn.lookup import LookupActivation
from actsmith.nn.polynomial import polynomial_network
from actsmith.nn.spline_activation import SplineActivation
from actsmith.nn.start import KAIMING, Start, start_of

__all__ = [
    "KAIMING",
    "Activation",
    "CRReLU",
    "EntropyDescent",
    "HermiteActivation",
    "InitReport",
    "KANLinear",
    "LayerInit",
    "LookupActivation",
    "MRePU",
    "RePU",
    "SplineActivation",
    "Start",
    "backend",
    "biharmonic",
    "cosine",
    "critical_init_",
    "derivatives",
    "hermite_formula",
    "jet",
    "laplacian",
    "lightning_callback",
    "polynomial_network",
    "start_of",
    "trainer_callback",
]
