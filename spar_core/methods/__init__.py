"""The methods, found by name: every module of this package but `plugin`, `registry` and `searching` is one.

A module holds `METHOD`. Other packages name theirs as entry points of the group `spar.methods`; `register` takes an
object.
"""

from spar_core.methods.registry import UnknownMethodError, method, names, register

__all__ = ["UnknownMethodError", "method", "names", "register"]
