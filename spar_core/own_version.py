"""Which version of spar runs."""

from importlib.metadata import PackageNotFoundError, version


def own_version() -> str:
    """The installed version; `source` where spar is run from its folder, uninstalled."""
    try:
        return version("spar")
    except PackageNotFoundError:
        return "source"
