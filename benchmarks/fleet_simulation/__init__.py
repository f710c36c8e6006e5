"""Discrete events of a fleet of model servers that works through self-play: how long, how idle, how much lost."""
