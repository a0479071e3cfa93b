"""Torch modules from formulas."""
