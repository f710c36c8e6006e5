"""What `spar run` says at its end, as a table for each question or as one JSON object."""

from typing import Any, NamedTuple, Self

import click

from flows.commands.options import show_judges, table
from flows.showing.anchoring import Anchoring, anchoring
from flows.showing.hacking import HackRate, hack_rates
from flows.showing.judge_summary import judges
from flows.showing.lessons import Taught, taught
from flows.showing.repeating import NOT_REPEATABLE
from flows.showing.score_rows import ScoreRow
from flows.showing.spending import spent_plain, spent_shown
from flows.showing.summary import COLUMNS, IterationRow, benchmark_table, kind_table, run_summary
from flows.wiring.health import HEALTH_COLUMNS, Health, run_health
from flows.wiring.measuring import counts_hacks
from flows.wiring.request import Run
from storage.ledger import Ledger


class RunEnd(NamedTuple):
    """A run's figures by iteration, and what else a reader must know of it."""

    run: Run
    rows: list[IterationRow]
    benchmarks: list[tuple[int, ScoreRow]]
    healths: list[Health]
    lessons: list[Taught]
    anchored: Anchoring | None
    hacks: list[HackRate]

    @classmethod
    def of(cls, run: Run) -> Self:
        """Read from the home."""
        home, run_id, config = run.home, run.run_id, run.config
        judging = config.method.judging
        return cls(
            run,
            run_summary(home, run_id),
            benchmark_table(home, run_id),
            run_health(home, run_id),
            taught(home, run_id) if config.warm_start.source in ("teacher", "rules") else [],
            anchoring(home, run_id, judging.anchor) if judging.reads_rules else None,
            hack_rates(home, run_id) if counts_hacks(config) else [],
        )

    def plain(self, by_kind: bool) -> dict[str, Any]:
        """JSON-like values; parts that say nothing are left out."""
        run, lost = self.run, {health.iteration: health.plain() for health in self.healths}
        found: dict[str, Any] = {
            "run_id": run.run_id,
            "home": str(run.home.root),
            "spent": spent_plain(Ledger(run.home).spent(run.run_id), run.config.budget),
            "iterations": [{**row.plain(), **lost.get(row.iteration, {})} for row in self.rows],
        }
        if not run.config.engine.repeatable:
            found["repeatable"] = False
        if self.anchored is not None:
            found["anchor"] = {**self.anchored.plain(), "hack_rates": [hack.plain() for hack in self.hacks]}
        elif self.hacks:
            found["hack_rates"] = [hack.plain() for hack in self.hacks]
        if self.lessons:
            found["warm_start"] = [lesson.plain() for lesson in self.lessons]
        if self.benchmarks:
            found["benchmarks"] = [{"iteration": number, **row.plain()} for number, row in self.benchmarks]
        if by_kind:
            found["kinds"] = kind_table(run.home, run.run_id)
            found["judge_kinds"] = [row for judge in judges(run.home, run.run_id) for row in judge.kinds()]
        return found

    def show(self, by_kind: bool) -> None:
        """Tables and lines on the terminal."""
        run = self.run
        table(f"run {run.run_id}", COLUMNS, [row.cells() for row in self.rows], numeric=set(COLUMNS))
        if self.healths:
            shown = [health.cells() for health in self.healths]
            table("what the loop could not use", HEALTH_COLUMNS, shown, numeric=set(HEALTH_COLUMNS))
        for lesson in self.lessons:
            click.echo(lesson.shown())
        for decision in Ledger(run.home).promotions():
            if decision.run_id == run.run_id and decision.decision in ("refused", "unmeasured"):
                click.echo(f"{decision.role}/{decision.version} is no champion: {decision.reason}")
        if not run.config.engine.repeatable:
            click.echo(NOT_REPEATABLE)
        if self.anchored is not None:
            click.echo(self.anchored.shown())
        for hack in self.hacks:
            click.echo(hack.shown())
        show_judges(judges(run.home, run.run_id))
        if by_kind:
            kinds = kind_table(run.home, run.run_id)
            cells = [[str(k["iteration"]), k["kind"], f"{100 * k['value']:.1f}", str(k["n"])] for k in kinds]
            table("constraints met", ["iteration", "kind", "%", "n"], cells, numeric={"iteration", "%", "n"})
        if self.benchmarks:
            columns = ["iteration", "benchmark", "metric", "value", "95 % interval", "n"]
            cells = [[str(number), row.place, *row.cells()[:4]] for number, row in self.benchmarks]
            table("benchmarks", columns, cells, numeric={"iteration", "value", "95 % interval", "n"})
        click.echo(f"spent: {spent_shown(Ledger(run.home).spent(run.run_id), run.config.budget)}")
