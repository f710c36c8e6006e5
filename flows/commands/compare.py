"""`spar compare`: two answer files, models or runs, item by item; `--gate` for continuous integration."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flows.commands.options import home_option, json_option, opened
from flows.commands.options import table as print_table
from spar_core.errors import ConfigError

if TYPE_CHECKING:
    from flows.comparing.differences import Difference
    from flows.comparing.sides import Side

_SHOWN = 8  # flipped items named per direction
_FAILED = 1


@click.command()
@click.argument("before")
@click.argument("after")
@click.option("--benchmark", default=None, help="What both were measured by.  [default: self_play; files need it]")
@click.option("--metric", "metrics", multiple=True, help="Only this metric; may be repeated.")
@click.option(
    "--gate", "gates", multiple=True, metavar="METRIC>=BOUND", help="Exit 1 where a change is surely below it."
)
@click.option(
    "--data-dir", type=click.Path(path_type=Path, file_okay=False), envvar="SPAR_DATA_DIR", help="As of eval."
)
@click.option("--prompts", type=click.Path(path_type=Path, dir_okay=False), help="Other prompts, as for eval.")
@click.option("--skip-bad", is_flag=True, help="Leave bad rows of files out.")
@home_option
@json_option
def compare(  # noqa: PLR0913 - one parameter per option
    before: str,
    after: str,
    benchmark: str | None,
    metrics: tuple[str, ...],
    gates: tuple[str, ...],
    prompts: Path | None,
    data_dir: Path | None,
    skip_bad: bool,
    home: Path | None,
    as_json: bool,
) -> int:
    """What changed from BEFORE to AFTER: paired differences with 95 % intervals, and the items that flipped.

    Each is a file of answers (with --benchmark ifeval or ifbench), a model (actor/3), or a run (RUN, or RUN:2 for its
    iteration 2). A gate fails where the whole interval of a change lies below its bound: exit code 1.

    \b
    Example:
      spar compare actor/1 actor/4
      spar compare starter-1a2b:0 starter-1a2b:3
      spar compare old.jsonl new.jsonl --benchmark ifeval --gate "prompt_strict>=0"
    """
    from flows.comparing.differences import changed_settings, parse_gate
    from flows.comparing.differences import compare as compared
    from flows.comparing.sides import file_side

    wanted = [parse_gate(text) for text in gates]
    files = [Path(name).is_file() for name in (before, after)]
    if all(files):
        if benchmark is None:
            raise ConfigError("two files of answers: say what they answer, with --benchmark ifeval or ifbench")
        first, second = (file_side(Path(name), benchmark, prompts, data_dir, skip_bad) for name in (before, after))
    elif any(files):
        raise ConfigError("compare two files of answers, or two models or runs of this home, not one of each")
    else:
        first, second = _of_home(before, after, benchmark or "self_play", home)
    found = compared(first, second)
    if unknown := {*metrics, *(gate.metric for gate in wanted)} - {entry.metric for entry in found}:
        raise ConfigError(f"no metric {', '.join(sorted(unknown))}; there are {', '.join(e.metric for e in found)}")
    by_metric = {entry.metric: entry for entry in found}
    failed = [gate for gate in wanted if not gate.passes(by_metric[gate.metric].change)]
    shown = [entry for entry in found if not metrics or entry.metric in metrics]
    settings = changed_settings(first.config, second.config)
    if as_json:
        told = {
            "before": first.name,
            "after": second.name,
            "metrics": [entry.plain() for entry in shown],
            "settings": {key: [*both] for key, both in settings.items()},
            "cost": {"before": dict(first.cost), "after": dict(second.cost)},
            "failed": [f"{gate.metric}>={gate.bound}" for gate in failed],
        }
        click.echo(json.dumps(told, ensure_ascii=False, default=str))
        return _FAILED if failed else 0
    _show(first, second, shown, settings)
    for gate in failed:
        change = by_metric[gate.metric].change.shown(signed=True)
        click.echo(f"gate failed: {gate.metric} changed by {change} points, below {100 * gate.bound:+.1f}", err=True)
    return _FAILED if failed else 0


def _show(
    first: "Side", second: "Side", shown: "Sequence[Difference]", settings: Mapping[str, tuple[Any, Any]]
) -> None:
    columns = ["metric", first.name, second.name, "change, points", "items", "better", "worse"]
    rows = [
        [e.metric, e.before.shown(), e.after.shown(), e.change.shown(signed=True), str(e.change.n),
         str(len(e.better)), str(len(e.worse))]
        for e in shown
    ]  # fmt: skip
    print_table("", columns, rows, numeric=set(columns[1:]))
    head = shown[0]
    for word, keys in (("better", head.better), ("worse", head.worse)):
        if keys:
            named = ", ".join(str(key[0] if isinstance(key, tuple) else key) for key in keys[:_SHOWN])
            click.echo(f"{head.metric}, {word}: {named}{f' and {len(keys) - _SHOWN} more' * (len(keys) > _SHOWN)}")
    for key, (one, other) in settings.items():
        click.echo(f"differs: {key}: {one} -> {other}")
    for side in (first, second):
        if side.cost:
            figures = ", ".join(f"{value:,.0f} {name}" for name, value in side.cost.items())
            click.echo(f"{side.name}: {figures} up to there")


def _of_home(before: str, after: str, benchmark: str, home: Path | None) -> tuple["Side", "Side"]:
    from flows.comparing.sides import home_sides
    from flows.wiring.models import by_number
    from storage.catalog import open_catalog

    where = opened(home)
    with open_catalog(where) as catalog:
        return home_sides(catalog, where, by_number(before, where), by_number(after, where), benchmark)
