"""Thousands of activations, each measured on several small tasks: the table, what it teaches, and how it is kept."""
