"""Torch modules from formulas."""

from actsmith.nn.activation import Activation, CRReLU, MRePU, RePU
from actsmith.nn.backend import backend
from actsmith.nn.init import InitReport, LayerInit, critical_init_
from actsmith.nn.polynomial import polynomial_network

__all__ = [
    "Activation",
    "CRReLU",
    "InitReport",
    "LayerInit",
    "MRePU",
    "RePU",
    "backend",
    "critical_init_",
    "polynomial_network",
]
