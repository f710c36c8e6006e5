"""Kinds of Multi-IF and M-IFEval that read other languages than English; each module registers its own.

`spar_core.constraints.registry` imports them at first need, by the first part of a kind's id: `multi_if`, `fr`, ...
"""
