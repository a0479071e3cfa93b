"""Torch modules from formulas."""

from actsmith.nn.activation import Activation, CRReLU, MRePU, RePU
from actsmith.nn.init import critical_init_

__all__ = ["Activation", "CRReLU", "MRePU", "RePU", "critical_init_"]
