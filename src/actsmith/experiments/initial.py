"""Moved to `actsmith.nn.start`; these are the old names."""

from actsmith.nn.start import Start as Initialisation
from actsmith.nn.start import start_of as initialisation

__all__ = ["Initialisation", "initialisation"]
