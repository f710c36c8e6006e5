"""`spar run`: self-play from wherever it stands."""

import json
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from flows.checks.preflight import preflight_run
from flows.commands.options import configuration_options, home_option, json_option, requested_run, show_judges, table
from flows.wiring.completion import is_finished
from flows.wiring.request import Run, RunRequest
from storage.ledger import Ledger


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

    if run.config.training.launch.nodes == 1 or (node := node_rank()) == 0:
        return False
    click.echo(f"machine {node}: waiting for the trainings of {run.run_id}", err=True)
    join_trainings(run.home.meeting(run.run_id), node, lambda line: click.echo(f"machine {node}: {line}", err=True))
    return True


def _play(request: RunRequest, run: Run, *, quiet: bool) -> None:
    from flows.showing.anchoring import warning
    from flows.showing.lessons import rule_notes
    from flows.wiring.session import session
    from spar_core.training.meeting import driving

    if run.config.method.judging.reads_rules:
        click.echo(warning(run.config.method.judging.anchor), err=True)
    for note in rule_notes(run.config):
        click.echo(note, err=True)
    several = run.config.training.launch.nodes > 1
    meeting = driving(run.home.meeting(run.run_id)) if several else nullcontext()
    with meeting:  # that what is missing here is told to the other machines too
        preflight_run(run)
        with session(run.home, run.run_id, quiet=quiet):
            from flows.self_play import self_play

            self_play(request)


def _show(run: Run, seconds: float, as_json: bool, by_kind: bool) -> None:
    from flows.showing.anchoring import anchoring
    from flows.showing.hacking import hack_rates
    from flows.showing.judge_summary import judges
    from flows.showing.lessons import taught
    from flows.showing.spending import spent_plain, spent_shown
    from flows.showing.summary import COLUMNS, benchmark_table, kind_table, run_summary
    from flows.wiring.health import HEALTH_COLUMNS, run_health

    rows, benchmarks = run_summary(run.home, run.run_id), benchmark_table(run.home, run.run_id)
    anchored = (
        anchoring(run.home, run.run_id, run.config.method.judging.anchor)
        if run.config.method.judging.reads_rules
        else None
    )
    hacks = hack_rates(run.home, run.run_id) if anchored is not None or run.config.method.reinforces() else []
    healths, spent = run_health(run.home, run.run_id), Ledger(run.home).spent(run.run_id)
    lessons = taught(run.home, run.run_id) if run.config.warm_start.source in ("teacher", "rules") else []
    if as_json:
        lost = {health.iteration: health.plain() for health in healths}
        plain: dict[str, Any] = {
            "run_id": run.run_id,
            "home": str(run.home.root),
            "spent": spent_plain(spent, run.config.budget),
            "iterations": [{**row.plain(), **lost.get(row.iteration, {})} for row in rows],
        }
        if anchored is not None:
            plain["anchor"] = {**anchored.plain(), "hack_rates": [hack.plain() for hack in hacks]}
        elif hacks:
            plain["hack_rates"] = [hack.plain() for hack in hacks]
        if lessons:
            plain["warm_start"] = [lesson.plain() for lesson in lessons]
        if benchmarks:
            plain["benchmarks"] = [{"iteration": number, **row.plain()} for number, row in benchmarks]
        if by_kind:
            plain["kinds"] = kind_table(run.home, run.run_id)
            plain["judge_kinds"] = [row for judge in judges(run.home, run.run_id) for row in judge.kinds()]
        click.echo(json.dumps(plain))
        return
    table(f"run {run.run_id}", COLUMNS, [row.cells() for row in rows], numeric=set(COLUMNS))
    if healths:
        shown = [health.cells() for health in healths]
        table("what the loop could not use", HEALTH_COLUMNS, shown, numeric=set(HEALTH_COLUMNS))
    for lesson in lessons:
        click.echo(lesson.shown())
    for decision in Ledger(run.home).promotions():
        if decision.run_id == run.run_id and decision.decision in ("refused", "unmeasured"):
            click.echo(f"{decision.role}/{decision.version} is no champion: {decision.reason}")
    if anchored is not None:
        click.echo(anchored.shown())
    for hack in hacks:
        click.echo(hack.shown())
    show_judges(judges(run.home, run.run_id))
    if by_kind:
        kinds = kind_table(run.home, run.run_id)
        cells = [[str(k["iteration"]), k["kind"], f"{100 * k['value']:.1f}", str(k["n"])] for k in kinds]
        table("constraints met", ["iteration", "kind", "%", "n"], cells, numeric={"iteration", "%", "n"})
    if benchmarks:
        columns = ["iteration", "benchmark", "metric", "value", "95 % interval", "n"]
        cells = [[str(number), row.place, *row.cells()[:4]] for number, row in benchmarks]
        table("benchmarks", columns, cells, numeric={"iteration", "value", "95 % interval", "n"})
    where = f"--home {run.home.root}"
    click.echo(f"spent: {spent_shown(spent, run.config.budget)}")
    click.echo(
        f"{seconds:.0f} s. Look next:\n"
        f"  spar status {where}                 stages, rows, artifacts\n"
        f'  spar sql {where} "SELECT * FROM eval_scores"\n'
        f"  spar refine {where} PROMPT           one prompt through the tree search\n"
        f"  spar view {where}                   runs, search trees, pairs and models in a browser\n"
        f"  spar ui {where}                     that, flows in Prefect, models in MLflow"
    )
