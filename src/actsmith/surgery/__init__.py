"""Activations in a real model: where they are, what they see."""
