"""`spar compare`: two answer files, models, runs, prompt sets or searches, item by item; `--gate` for CI."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flows.commands.options import (
    configuration_options,
    home_option,
    json_option,
    model_option,
    opened,
    override_option,
    server_options,
)
from flows.commands.options import table as print_table
from spar_core.errors import ConfigError

if TYPE_CHECKING:
    from flows.comparing.differences import Difference
    from flows.comparing.sides import Side

_SIDES = ("before_overrides", "after_overrides")
_SHOWN = 8  # flipped items named per direction
_FAILED = 1


@click.command()
@click.argument("before", required=False)
@click.argument("after", required=False)
@click.option("--benchmark", default=None, help="What both were measured by.  [default: self_play; files need it]")
@click.option("--metric", "metrics", multiple=True, help="Only this metric; may be repeated.")
@click.option(
    "--gate", "gates", multiple=True, metavar="METRIC>=BOUND", help="Exit 1 where a change is surely below it."
)
@click.option(
    "--data-dir", type=click.Path(path_type=Path, file_okay=False), envvar="SPAR_DATA_DIR", help="As of eval."
)
@click.option("--prompts", type=click.Path(path_type=Path), help="Other prompts, as for eval; of a search, as for it.")
@click.option("--skip-bad", is_flag=True, help="Leave bad rows of files out.")
@model_option("--refiner", "Search with each side: BEFORE and AFTER are prompt sets. Who judges and rewrites.")
@model_option("--actor", "Who answers for both sides; none: every prompt of the file comes with its answer.")
@override_option("--set-a", "before_overrides", "A setting of the first side alone, as --set; may be repeated.")
@override_option("--set-b", "after_overrides", "A setting of the second side alone.")
@server_options
@configuration_options
@home_option
@json_option
def compare(  # noqa: PLR0913 - one parameter per option
    before: str | None,
    after: str | None,
    benchmark: str | None,
    metrics: tuple[str, ...],
    gates: tuple[str, ...],
    prompts: Path | None,
    data_dir: Path | None,
    skip_bad: bool,
    home: Path | None,
    as_json: bool,
    **searching: Any,
) -> int:
    """What changed from BEFORE to AFTER: paired differences with 95 % intervals, and the items that flipped.

    Each is a file of answers (with --benchmark ifeval or ifbench), a model (actor/3), or a run: of self-play (RUN, or
    RUN:2 for its iteration 2) or of spar eval. With --refiner each is a prompt set (a shipped one's name, or a folder),
    or --set-a and --set-b say what the sides differ in: the same prompts are searched both ways. A gate fails where the
    whole interval of a change lies below its bound: exit code 1.

    \b
    Example:
      spar compare actor/1 actor/4
      spar compare starter-1a2b:0 starter-1a2b:3
      spar compare old.jsonl new.jsonl --benchmark ifeval --gate "prompt_strict>=0"
      spar compare default ./mine --prompts prompts.jsonl --actor starter --refiner starter
      spar compare --set-a method.search.branch=2 --set-b method.search.branch=5 --prompts p.jsonl --refiner starter
    """
    from flows.comparing.differences import changed_settings, parse_gate
    from flows.comparing.differences import compare as compared

    wanted = [parse_gate(text) for text in gates]
    if searching["refiner"] is not None:
        if benchmark is not None:
            raise ConfigError("--benchmark compares what was measured; with --refiner both sides are searched now")
        first, second = _searched((before, after), prompts, skip_bad, home, searching, quiet=as_json)
    else:
        first, second = _measured((before, after), benchmark, prompts, data_dir, skip_bad, home, searching)
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
            "gates": [gate.plain(by_metric[gate.metric]) for gate in wanted],
        }
        click.echo(json.dumps(told, ensure_ascii=False, default=str))
        return _FAILED if failed else 0
    _show(first, second, shown, settings)
    for gate in wanted:
        click.echo(gate.told(by_metric[gate.metric]))
    for gate in failed:
        change = by_metric[gate.metric].change.shown(signed=True)
        click.echo(f"gate failed: {gate.metric} changed by {change} points, below {100 * gate.bound:+.1f}", err=True)
    return _FAILED if failed else 0


def _show(
    first: "Side", second: "Side", shown: "Sequence[Difference]", settings: Mapping[str, tuple[Any, Any]]
) -> None:
    columns = ["metric", first.name, second.name, "change, points", "items", "better", "worse", "detectable drop"]
    rows = [
        [e.metric, e.before.shown(), e.after.shown(), e.change.shown(signed=True), str(e.change.n),
         str(len(e.better)), str(len(e.worse)), f"{100 * e.sensitivity.detectable:.1f}"]
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
            click.echo(f"{side.name}: {figures}")


def _measured(
    names: tuple[str | None, str | None],
    benchmark: str | None,
    prompts: Path | None,
    data_dir: Path | None,
    skip_bad: bool,
    home: Path | None,
    searching: Mapping[str, Any],
) -> tuple["Side", "Side"]:
    from flows.comparing.sides import file_side

    if any(value for value in searching.values()):
        raise ConfigError("models, settings and servers are named for two searches: say who judges, with --refiner")
    before, after = names
    if before is None or after is None:
        raise ConfigError("name two sides: files of answers, models, runs, or with --refiner prompt sets")
    files = [Path(name).is_file() for name in (before, after)]
    if all(files):
        if benchmark is None:
            raise ConfigError("two files of answers: say what they answer, with --benchmark ifeval or ifbench")
        first, second = (file_side(Path(name), benchmark, prompts, data_dir, skip_bad) for name in (before, after))
        return first, second
    if any(files):
        raise ConfigError("compare two files of answers, or two models or runs of this home, not one of each")
    return _of_home(before, after, benchmark or "self_play", home)


def _of_home(before: str, after: str, benchmark: str, home: Path | None) -> tuple["Side", "Side"]:
    from flows.comparing.sides import home_sides
    from flows.wiring.models import by_number
    from storage.catalog import open_catalog

    where = opened(home)
    with open_catalog(where) as catalog:
        return home_sides(catalog, where, by_number(before, where), by_number(after, where), benchmark)


def _searched(
    names: tuple[str | None, str | None],
    prompts: Path | None,
    skip_bad: bool,
    home: Path | None,
    searching: dict[str, Any],
    *,
    quiet: bool,
) -> tuple["Side", "Side"]:
    """Both sides searched, one after the other; what they have in common is done once."""
    from flows.checks.preflight import preflight
    from flows.checks.work import Chosen, Work, named_models
    from flows.wiring.session import session
    from spar_core.prompts import PromptLibrary

    if prompts is None:
        raise ConfigError('say what is searched, with --prompts FILE: rows {"prompt"}, as `spar search` reads them')
    if (names[0] is None) != (names[1] is None):
        raise ConfigError("name two prompt sets, or none and what the sides differ in with --set-a and --set-b")
    where, common = opened(home), searching.pop("overrides")
    actor, refiner = searching["actor"], searching["refiner"]
    sides = []
    for place, name in zip(_SIDES, names, strict=True):
        own = searching.pop(place)
        called = " ".join((name, *own) if name else own) or "as configured"
        chosen_set = () if name is None else (f"method.prompt_set={json.dumps(name)}",)
        chosen = Chosen(searching["preset"], searching["config_file"], (*common, *chosen_set, *own))
        config = chosen.configuration(refiner, where)
        PromptLibrary.load(config.method.prompt_set)  # one that is no prompt set is told before anything starts
        work = Work(where, config, named_models(actor=actor, refiner=refiner), prompts=str(prompts), skip_bad=skip_bad)
        sides.append((called, work, chosen.overrides))
    if sides[0][1].config == sides[1][1].config:
        raise ConfigError(
            "both sides have the same settings: name two prompt sets, or what differs with --set-a, --set-b"
        )
    for _, work, _ in sides:
        preflight(work)
    with session(where, "compare", quiet=quiet):
        from flows.comparing.searches import searched_side
        from flows.search import SearchRequest

        file = searching.pop("config_file")
        given = {**searching, "prompts": str(prompts), "home": str(where.root), "skip_bad": skip_bad}
        given["config_file"] = None if file is None else str(file)
        first, second = (
            searched_side(name, SearchRequest(**given, overrides=overrides)) for name, _, overrides in sides
        )
    return first, second
