"""Ratios against named peers in one run: what `actsmith bench` measures."""
