"""Benchmarks made of self-play's own stages, one module each. Importing the package makes them known by name."""

from spar_core.benchmarks import add_package

add_package(__name__)
