"""Scorers of the benchmarks and the measurements of self-play, each value with its interval."""
