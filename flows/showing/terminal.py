"""Progress in the terminal: one line per stage, a bar while it runs."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from flows.showing.heartbeat import Heartbeat, Pace
from flows.showing.spending import spent_shown
from storage.artifacts import ArtifactRef
from storage.manifest_figures import tokens
from tasks.calls import StageCall
from tasks.logs import LOGGERS
from tasks.runtime import Runtime, SilentReporter


class TerminalReporter(SilentReporter):
    """Shows stages on a console; where it is no terminal, finished stages, and now and then what one is at."""

    def __init__(
        self,
        console: Console,
        spent: Callable[[StageCall], str] = lambda _call: "",
        pace: Callable[[StageCall], Pace] = lambda _call: Pace(0, 0),
    ) -> None:
        """`spent` tells what the run of a stage has spent, `pace` how its engines fare."""
        self._console = console
        self._spent = spent
        self._pace = pace
        self._heartbeat = Heartbeat(lambda line: console.print(line, highlight=False))
        self._latest: StageCall | None = None
        self._bars: dict[tuple[int | None, str], TaskID] = {}
        self.progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            _Told(self._spending),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Show bars while the block runs, or say what they would show."""
        with self.progress, nullcontext() if self._console.is_terminal else self._heartbeat.going():
            yield

    def announced(self, text: str) -> None:
        """Leave a line."""
        self._console.print(text, style="bold", highlight=False)

    def stage_started(self, call: StageCall, parts: int) -> None:
        """Open a bar."""
        self._latest = call
        description = _title(call)
        self._bars[call.iteration, call.stage] = self.progress.add_task(description, total=parts, note="")
        self._heartbeat.started(description, parts, lambda: self._pace(call))

    def stage_advanced(self, call: StageCall, done: int, parts: int) -> None:
        """Move the bar."""
        self.progress.update(self._bars[call.iteration, call.stage], completed=done)
        self._heartbeat.advanced(_title(call), done)

    def training_progress(self, call: StageCall, step: int, metrics: dict[str, float]) -> None:
        """Show the step and the loss."""
        note = f"step {step}" + (f", loss {metrics['loss']:.4f}" if "loss" in metrics else "")
        bar = self._bars.get((call.iteration, call.stage))
        if bar is not None:
            self.progress.update(bar, note=note)
        self._heartbeat.trained(_title(call), note)

    def stage_finished(self, call: StageCall, artifact: ArtifactRef, cached: bool, seconds: float) -> None:
        """Close the bar, leave a line."""
        self._remove(call)
        manifest = artifact.manifest()
        dropped = sum(manifest.drops.values())
        how = "cached" if cached else f"{seconds:.1f} s"
        rows = f"{manifest.rows_out} of {manifest.rows_in} rows" + (f", {dropped} dropped" if dropped else "")
        count = None if cached else tokens(manifest)
        rows += "" if count is None else f", {count:,} tokens"
        self._console.print(f"{_place(call)}{call.stage:<28} {how:>9}  {rows}", highlight=False)

    def stage_failed(self, call: StageCall, error: BaseException) -> None:
        """Close the bar, say so."""
        self._remove(call)
        self._console.print(f"{_place(call)}{call.stage:<28}    failed", style="red", highlight=False)

    def _spending(self) -> str:
        return "" if self._latest is None else self._spent(self._latest)

    def _remove(self, call: StageCall) -> None:
        self._heartbeat.ended(_title(call))
        bar = self._bars.pop((call.iteration, call.stage), None)
        if bar is not None:
            self.progress.remove_task(bar)


class _Told(ProgressColumn):
    """A text that is asked for whenever the line is drawn."""

    def __init__(self, told: Callable[[], str]) -> None:
        self._told = told
        super().__init__()

    def render(self, task: Task) -> Text:
        """The text as it is now."""
        return Text(self._told(), style="dim")


def _place(call: StageCall) -> str:
    return "" if call.iteration is None else f"iteration {call.iteration}  "


def _title(call: StageCall) -> str:
    return f"{_place(call)}{call.stage}"


class _PlainLines(logging.Handler):
    """Writes records to stderr as the command line writes its own messages."""

    def emit(self, record: logging.LogRecord) -> None:
        """One line."""
        click.echo(f"spar: {record.getMessage()}", err=True)


@contextmanager
def warnings_told() -> Iterator[None]:
    """Print what this project warns of while the block runs: plain lines in place of Prefect's console format."""
    handler = _PlainLines(logging.WARNING)
    loggers = [logging.getLogger(name) for name in LOGGERS]
    for logger in loggers:
        logger.addHandler(handler)
        logger.propagate = False
    try:
        yield
    finally:
        for logger in loggers:
            logger.propagate = True
            logger.removeHandler(handler)


def progress_console() -> Console:
    """Standard error; where it is no terminal a line stays one, however long."""
    return Console(stderr=True, soft_wrap=not sys.stderr.isatty())


@contextmanager
def terminal_reporter(runtime: Runtime, ui_url: str, run_id: str, *, quiet: bool) -> Iterator[None]:
    """Report the stages of a home on the terminal while the block runs."""
    if quiet:
        yield
        return
    console = progress_console()
    console.print(f"run {run_id} in {runtime.home.root}; watch it at {ui_url}", highlight=False)

    def spent(call: StageCall) -> str:
        return spent_shown(runtime.spending(call.run_id).spent, call.surroundings.budget)

    def pace(call: StageCall) -> Pace:
        spending = runtime.spending(call.run_id)
        return Pace(spending.spent.written, spending.asked)

    reporter = TerminalReporter(console, spent, pace)
    runtime.reporter = reporter
    try:
        with reporter.showing():
            yield
    finally:
        runtime.reporter = SilentReporter()
