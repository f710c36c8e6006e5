"""`spar report`: a run or an experiment as one file."""

from pathlib import Path

import click

from flows.commands.options import home_option, opened


@click.command()
@click.argument("name", metavar="RUN|EXPERIMENT", required=False)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="The file.  [default: NAME.html in this folder]"
)
@home_option
def report(name: str | None, out: Path | None, home: Path | None) -> int:
    """Write one HTML file of a run (the latest by default) or an experiment: plots, tables, chosen search trees.

    It needs no network and no other file, opens in any browser, and is smaller than 2 MB. Trees are chosen by a rule
    that the page states. A run's report is also made at its end: in MLflow, and in `spar view`.

    \b
    Example:
      spar report
      spar report starter-512c9351 --out /tmp/starter.html
    """
    from flows.reporting.naming import report_of
    from flows.reporting.page import write_page

    where = opened(home)
    found, page = report_of(where, name)
    path = out or Path(f"{found}.html")
    write_page(path, page)
    left_out = page.trees_chosen - page.trees
    click.echo(
        f"{path}: {path.stat().st_size / 1000:,.0f} kB, {page.trees} trees"
        + (f" ({left_out} more had no room)" if left_out else "")
    )
    return 0
