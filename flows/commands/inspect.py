"""`spar status` and `spar sql`: look into a home without starting anything."""

import json
import sys
from datetime import datetime
from pathlib import Path

import click
from pydantic import ValidationError

from flows.commands.options import home_option, json_option, opened, show_judges
from flows.commands.options import table as print_table
from spar_core.config.budget import BudgetConfig
from spar_core.errors import StorageError
from storage.entries import Run
from storage.ledger import Ledger


@click.command()
@click.argument("run", required=False)
@home_option
@json_option
def status(run: str | None, home: Path | None, as_json: bool) -> int:
    """What became of a run (the latest by default), and its stages: state, rows, seconds, artifact; its judge.

    \b
    Example:
      spar status
      spar status starter-1a2b3c4d --json
    """
    from flows.showing.judge_summary import judges
    from flows.showing.spending import spent_plain, spent_shown
    from flows.showing.summary import run_summary
    from storage.catalog import open_catalog

    where = opened(home)
    runs = {entry.run_id: entry for entry in sorted(Ledger(where).runs(), key=_begun, reverse=True)}
    if not runs:
        raise StorageError(f"{where.root} holds no run yet; start one with `spar run --home {where.root}`")
    name = run or next(iter(runs))
    if name not in runs:
        raise StorageError(f"no run {name!r} in {where.root}; runs there: {', '.join(runs)}")
    spent, budget = Ledger(where).spent(name), _budget(runs[name])
    with open_catalog(where) as catalog:
        stages = catalog.rows("SELECT * FROM stages WHERE run_id = ? ORDER BY iteration, started", [name])
    if as_json:
        iterations = [row.plain() for row in run_summary(where, name)]
        told = runs[name].model_dump(mode="json", include={"run_id", "state", "activity"})
        cost = spent_plain(spent, budget)
        click.echo(json.dumps({**told, "spent": cost, "stages": stages, "iterations": iterations}, default=str))
        return 0
    columns = ["iteration", "stage", "state", "cached", "rows in", "rows out", "dropped", "seconds", "artifact"]
    keys = ["iteration", "stage", "state", "cached", "rows_in", "rows_out", "rows_dropped", "seconds", "artifact_uri"]
    rows = [[_shown(stage[key]) for key in keys] for stage in stages]
    for row in rows:
        row[-1] = _short(row[-1])
    print_table(f"run {name}", columns, rows, numeric={"iteration", "rows in", "rows out", "dropped", "seconds"})
    show_judges(judges(where, name))
    click.echo(f"spent: {spent_shown(spent, budget)}")
    click.echo(_became(runs[name]))
    return 0


@click.command()
@click.argument("query")
@home_option
@click.option("--format", "form", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True)
@json_option
def sql(query: str, home: Path | None, form: str, as_json: bool) -> int:
    """Read-only DuckDB SQL over every table of the home.

    \b
    Example:
      spar sql "SELECT iteration, metric, value, ci_low, ci_high FROM eval_scores WHERE metric = 'accuracy'"
      spar sql "SELECT stage, reason, count(*) FROM drops GROUP BY ALL" --format csv
    """
    from storage.catalog import open_catalog

    with open_catalog(opened(home)) as catalog:
        result = catalog.query(query)
    if as_json or form == "json":
        click.echo(json.dumps(result.to_pylist(), default=str, ensure_ascii=False))
    elif form == "csv":
        from pyarrow import csv

        csv.write_csv(result, sys.stdout.buffer)
    else:
        rows = [[_shown(value) for value in row.values()] for row in result.to_pylist()]
        print_table("", result.schema.names, rows)
    return 0


def _budget(run: Run) -> BudgetConfig:
    """The limits of a run; none where it is of a version that had no such thing."""
    try:
        return BudgetConfig.model_validate(run.config.get("budget", {}))
    except ValidationError:
        return BudgetConfig()


def _begun(run: Run) -> datetime:
    return run.created if run.activity is None else run.activity.started


def _became(run: Run) -> str:
    """`completed; last: iteration 3, failed: ENGINE'S REASON`."""
    doing = run.activity
    if doing is None:
        return run.state
    return f"{run.state}; last: {doing.name}, {doing.state}" + (f": {doing.detail}" if doing.detail else "")


def _short(uri: str) -> str:
    """`.../stage_key=0123456789...` cut to what tells artifacts apart; --json has all of it."""
    _, marked, key = uri.partition("stage_key=")
    return key[:12] if marked else uri


def _shown(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e6 else f"{value:,.0f}"
    return str(value)
