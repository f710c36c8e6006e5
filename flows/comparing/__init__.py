"""Comparing two measured things: answer files, models, or iterations of runs."""
