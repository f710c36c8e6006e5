"""What the code of every stage says, beside the version that stands for it in keys.

    python -m tests.contracts.stage_digests            what changed since it was accepted
    python -m tests.contracts.stage_digests --accept   take it as it is now (make accept-stages)

Accept a change that alters no result as it is. For one that does, raise the version of the stages it alters first (or
`ENGINES_VERSION` in tasks/calls.py): artifacts of the old version are then made anew.
"""

import importlib
import json
import pkgutil
import sys
from pathlib import Path
from typing import Any

import spar_core.benchmarks
import tasks
from spar_core.benchmarks.plugin import AskedBenchmark
from spar_core.hashing import digest
from tasks.calls import ENGINES_VERSION
from tasks.sources import closure, module_digest
from tasks.stages import Stage

FILE = Path(__file__).with_name("stage_digests.json")
ENGINES = "engines"
# How stages are run, configured and recorded: what of it alters results is in the keys by value. The engines have a
# version of their own.
NEUTRAL = (
    "spar_core.config",
    "spar_core.engines",
    "tasks.bookkeeping",
    "tasks.calls",
    "tasks.engines",
    "tasks.progress",
    "tasks.runtime",
    "tasks.shards",
    "tasks.sources",
    "tasks.stages",
    "tasks.tracking",
    "tasks.versions",
)
# Modules that find others of a package by name, which no import statement tells.
FINDERS = {"spar_core.benchmarks.registry": "spar_core.benchmarks", "spar_core.methods.registry": "spar_core.methods"}


def stages() -> dict[str, Stage]:
    """Every stage of the package `tasks`, by its name."""
    found: dict[str, Stage] = {}
    for module in pkgutil.walk_packages(tasks.__path__, "tasks."):
        for value in vars(importlib.import_module(module.name)).values():
            entries = value.values() if isinstance(value, dict) else (value,)  # of a stage per role, too
            found |= {entry.name: entry for entry in entries if isinstance(entry, Stage)}
    return dict(sorted(found.items()))


def asked_benchmarks() -> dict[str, AskedBenchmark]:
    """The benchmarks of the package `spar_core.benchmarks`, as `benchmark NAME`."""
    modules = (entry.name for entry in pkgutil.iter_modules(spar_core.benchmarks.__path__))
    objects = (getattr(importlib.import_module(f"spar_core.benchmarks.{name}"), "BENCHMARK", None) for name in modules)
    return {f"benchmark {found.name}": found for found in objects if isinstance(found, AskedBenchmark)}


def modules_of(stage: Stage) -> tuple[str, ...]:
    """The modules a stage's results come from."""
    reached = closure([stage.work.__module__], without=NEUTRAL)
    packages = [importlib.import_module(FINDERS[name]) for name in reached if name in FINDERS]
    found = [entry.name for one in packages for entry in pkgutil.iter_modules(one.__path__, f"{one.__name__}.")]
    return closure([*reached, *found], without=NEUTRAL)


def as_of_now() -> dict[str, Any]:
    """Versions and digests as the code is: of modules, of stages, and of the code that asks models."""
    versions = {name: stage.version for name, stage in stages().items()}
    reach = {name: modules_of(stage) for name, stage in stages().items()}
    versions[ENGINES], reach[ENGINES] = ENGINES_VERSION, closure(["spar_core.engines.factory"], ["spar_core.config"])
    for name, found in asked_benchmarks().items():  # reached by name alone; their version is in the keys
        versions[name], reach[name] = found.version, closure([f"spar_core.benchmarks.{found.name}"], NEUTRAL)
    modules = {module: module_digest(module)[:12] for module in sorted(set().union(*reach.values()))}
    digests = {name: digest([[module, modules[module]] for module in reach[name]])[:12] for name in reach}
    return {"modules": modules, "stages": {name: [versions[name], digests[name]] for name in sorted(reach)}}


def accepted() -> dict[str, Any]:
    """What was accepted last."""
    found: dict[str, Any] = json.loads(FILE.read_text())
    return found


def unaccepted(was: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """A line per stage that is not as it was accepted, with the modules that changed."""
    changed = {
        name for name in {*was["modules"], *now["modules"]} if was["modules"].get(name) != now["modules"].get(name)
    }
    lines = []
    for name in sorted({*was["stages"], *now["stages"]}):
        before, after = was["stages"].get(name), now["stages"].get(name)
        if before == after:
            continue
        if before is None or after is None:
            lines.append(f"{name}: {'new' if before is None else 'gone'}")
            continue
        version = f"version {before[0]}" + ("" if before[0] == after[0] else f" -> {after[0]}")
        lines.append(f"{name} ({version})")
    return [*lines, *(f"  changed: {name}" for name in sorted(changed))] if lines else []


def main(arguments: list[str]) -> int:
    """Say what changed, or accept it."""
    now = as_of_now()
    if arguments == ["--accept"]:
        FILE.write_text(json.dumps(now, indent=1, sort_keys=True) + "\n")
        return 0
    lines = unaccepted(accepted(), now)
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 1 if lines else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
