"""Attokit: vision networks from training to a chip, with QAT on the very graph that ships."""

__version__ = "0.1.0"
