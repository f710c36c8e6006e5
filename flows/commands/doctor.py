"""`spar doctor`: whether a run could start here, and how to mend what is missing."""

import json
from pathlib import Path

import click

from flows.commands.options import configuration_options, home_option, json_option, requested_run, table


@click.command()
@configuration_options
@click.option("--benchmark", "benchmarks", multiple=True, help="Also what this benchmark needs; may be repeated.")
@home_option
@json_option
def doctor(
    preset: str | None,
    config_file: Path | None,
    overrides: tuple[str, ...],
    benchmarks: tuple[str, ...],
    home: Path | None,
    as_json: bool,
) -> int:
    """Check packages, data, models, memory, disk, ports and keys for a configuration. Starts nothing.

    \b
    Example:
      spar doctor
      spar doctor --preset llama3-8b --set models.actor=/models/llama3-8b-instruct
      spar doctor --benchmark ifeval --benchmark ifbench
    """
    from dataclasses import replace

    from flows.checks.preflight import findings
    from flows.checks.work import of_run

    run = requested_run(preset, config_file, overrides, home).resolve()
    run.home.check_layout()
    work = of_run(run)
    found = list(findings(replace(work, benchmarks=(*work.benchmarks, *benchmarks))))
    failed = any(finding.verdict == "fail" for finding in found)
    if as_json:
        click.echo(json.dumps({"ok": not failed, "checks": [finding.plain() for finding in found]}))
    else:
        rows = [[finding.name, finding.verdict, finding.detail, finding.remedy] for finding in found]
        table(f"{run.config.preset}, home {run.home.root}", ["check", "verdict", "found", "what to do"], rows)
    return 1 if failed else 0
