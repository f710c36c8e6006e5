"""`spar run`: self-play from wherever it stands."""

import json
import time
from contextlib import nullcontext
from pathlib import Path

import click

from flows.checks.preflight import preflight_run
from flows.commands.options import configuration_options, home_option, json_option, requested_run
from flows.wiring.completion import is_finished
from flows.wiring.request import Run, RunRequest


@click.command()
@configuration_options
@click.option("--iterations", type=click.IntRange(min=0), help="Self-play iterations after the warm start.")
@click.option("--run-id", help="Name of the run.  [default: preset and a digest of the configuration]")
@click.option("--dry-run", is_flag=True, help="Print the plan of the run (see `spar plan`) and start nothing.")
@click.option("--by-kind", is_flag=True, help="Also print accuracy per constraint kind.")
@home_option
@json_option
def run(  # noqa: PLR0913 - one parameter per option
    preset: str | None,
    config_file: Path | None,
    overrides: tuple[str, ...],
    iterations: int | None,
    run_id: str | None,
    dry_run: bool,
    by_kind: bool,
    home: Path | None,
    as_json: bool,
) -> int:
    """Self-play: warm start, iterations, evaluation, registration. The same command again resumes.

    \b
    Example:
      spar run
      spar run --preset starter --iterations 1 --set training.actor.learning_rate=5e-5
      spar run --preset llama3-8b --set models.actor=/models/llama3-8b-instruct --set warm_start.teacher=/models/strong
    """
    request = requested_run(preset, config_file, overrides, home, iterations, run_id)
    resolved = request.resolve()
    resolved.home.check_layout()
    if dry_run:
        from flows.commands.plan import show_plan
        from flows.planning.plan import PlanOptions

        return show_plan(resolved, PlanOptions(), as_json=as_json)
    started = time.monotonic()
    if not is_finished(resolved):
        if _joins(resolved):
            return 0
        _play(request, resolved, quiet=as_json)
    _show(resolved, time.monotonic() - started, as_json, by_kind)
    return 0


def _joins(run: Run) -> bool:
    """Whether this is one of several machines and not the first: then it has taken part in the run's trainings."""
    from spar_core.training.meeting import join_trainings, node_rank

    if not _meets_others(run) or (node := node_rank()) == 0:
        return False
    click.echo(f"machine {node}: waiting for the trainings of {run.run_id}", err=True)
    join_trainings(run.home.meeting(run.run_id), node, lambda line: click.echo(f"machine {node}: {line}", err=True))
    return True


def _meets_others(run: Run) -> bool:
    """Whether the command is started on several machines; on a Ray cluster one is enough."""
    return run.config.training.launch.nodes > 1 and run.config.scale.runner != "ray"


def _play(request: RunRequest, run: Run, *, quiet: bool) -> None:
    from flows.showing.anchoring import warning
    from flows.showing.lessons import rule_notes
    from flows.showing.repeating import NOT_REPEATABLE
    from flows.wiring.session import session
    from spar_core.training.meeting import driving

    if run.config.method.judging.reads_rules:
        click.echo(warning(run.config.method.judging.anchor), err=True)
    if not run.config.engine.repeatable:
        click.echo(NOT_REPEATABLE, err=True)
    for note in rule_notes(run.config):
        click.echo(note, err=True)
    meeting = driving(run.home.meeting(run.run_id)) if _meets_others(run) else nullcontext()
    with meeting:  # that what is missing here is told to the other machines too
        preflight_run(run)
        with session(run.home, run.run_id, quiet=quiet):
            from flows.self_play import self_play

            self_play(request)


def _show(run: Run, seconds: float, as_json: bool, by_kind: bool) -> None:
    from flows.showing.run_end import RunEnd

    end = RunEnd.of(run)
    if as_json:
        click.echo(json.dumps(end.plain(by_kind)))
        return
    end.show(by_kind)
    where = f"--home {run.home.address}"
    click.echo(
        f"{seconds:.0f} s. Look next:\n"
        f"  spar status {where}                 stages, rows, artifacts\n"
        f'  spar sql {where} "SELECT * FROM eval_scores"\n'
        f"  spar refine {where} PROMPT           one prompt through the tree search\n"
        f"  spar view {where}                   runs, search trees, pairs and models in a browser\n"
        f"  spar ui {where}                     that, flows in Prefect, models in MLflow"
    )
