"""Options that several commands share."""

import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from storage.home import Home

if TYPE_CHECKING:
    from flows.showing.judge_summary import Judge
    from flows.wiring.request import RunRequest

Command = Callable[..., Any]


def home_option(command: Command) -> Command:
    """`--home DIR`."""
    return click.option(
        "--home",
        type=click.Path(path_type=Path, file_okay=False),
        default=None,
        envvar="SPAR_HOME",
        help="Folder that holds everything, or s3://bucket/prefix.  [default: $SPAR_HOME, else .spar]",
    )(command)


def json_option(command: Command) -> Command:
    """`--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")(command)


def configuration_options(command: Command) -> Command:
    """`--preset`, `--config`, `--set`."""
    for option in (
        override_option(
            "--set",
            "overrides",
            "Override one value; may be repeated. A secret by its variable: engine.env.HF_TOKEN='$HF_TOKEN'.",
        ),
        click.option(
            "--config",
            "config_file",
            type=click.Path(path_type=Path, dir_okay=False),
            help="Configuration file (YAML).",
        ),
        click.option("--preset", help="Shipped configuration.  [default: starter]"),
    ):
        command = option(command)
    return command


def override_option(name: str, parameter: str, text: str) -> Callable[[Command], Command]:
    """An option that takes `key.path=value` strings as `--set` does."""
    return click.option(
        name, parameter, multiple=True, metavar="KEY.PATH=VALUE", callback=_checked_overrides, help=text
    )


def requested_run(
    preset: str | None,
    config_file: Path | None,
    overrides: Sequence[str],
    home: Path | None,
    iterations: int | None = None,
    run_id: str | None = None,
) -> "RunRequest":
    """The run that a command line names; relative paths are those of the working directory."""
    from flows.wiring.request import RunRequest

    return RunRequest(
        preset=preset,
        config_file=str(config_file.absolute()) if config_file else None,
        overrides=list(overrides),
        iterations=iterations,
        home=Home(home).address if home else None,
        run_id=run_id,
    )


def model_option(name: str, text: str, *, required: bool = False) -> Callable[[Command], Command]:
    """An option that takes a model reference; its form is checked before anything is started."""
    return click.option(name, metavar="MODEL", required=required, callback=_checked_reference, help=text)


def server_options(command: Command) -> Command:
    """`--timeout`, `--retries`, `--max-wait`, `--fresh`, `--model-digest`: what is said of servers given by address."""
    for option in (
        click.option(
            "--model-digest",
            metavar="TEXT",
            help="Identity of the weights of the server that is named, instead of asking it a few fixed prompts.",
        ),
        click.option("--fresh", is_flag=True, help="Reuse nothing that servers given by address answered before."),
        click.option(
            "--max-wait",
            "max_wait_s",
            type=click.FloatRange(0, 604800, min_open=True),
            help="Seconds to put off a request to a busy server (HTTP 429, 503).  [default: 900]",
        ),
        click.option("--retries", type=click.IntRange(0, 100), help="Further attempts at a server.  [default: 6]"),
        click.option(
            "--timeout",
            "timeout_s",
            type=click.FloatRange(0, 86400, min_open=True),
            help="Seconds per request to a server.  [default: 600]",
        ),
    ):
        command = option(command)
    return command


def _checked_reference(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    from spar_core.engines.model_reference import check_reference

    return value if value is None else check_reference(value)


def _checked_overrides(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    from spar_core.config.loading import check_override

    return tuple(map(check_override, values))


def opened(home: Path | None) -> Home:
    """The home a command works on.

    Raises:
        StorageError: a later version laid it out.
    """
    where = Home(home) if home else Home.default()
    where.check_layout()
    return where


def table(title: str, columns: list[str], rows: list[list[str]], numeric: Collection[str] = ()) -> None:
    """Print a table that fits a terminal and reads well in a log."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 160)
    shown = Table(title=title or None, title_justify="left", header_style="bold")
    for column in columns:
        shown.add_column(column, justify="right" if column in numeric else "left", overflow="fold")
    for row in rows:
        shown.add_row(*row)
    console.print(shown)


def show_judges(judges: "Sequence[Judge]") -> None:
    """Print how far each iteration's refiner can be trusted as a judge, and why a figure is not there."""
    from flows.showing.judge_summary import JUDGE_COLUMNS

    if not judges:
        return
    columns = ["iteration", *JUDGE_COLUMNS.values()]
    table("the refiner as a judge", columns, [judge.cells() for judge in judges], numeric=set(columns))
    for judge in judges:
        for reason in judge.reasons():
            click.echo(reason)
