"""`spar eval`: benchmarks for a model, a server, or a file of answers."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

import flows.benchmarking.own  # noqa: F401 - makes them known
from flows.commands.evaluate_options import (
    FILE,
    check_places,
    file_options,
    model_options,
    system_text,
    template_text,
)
from flows.commands.options import configuration_options, home_option, json_option, opened, server_options, table
from spar_core.benchmarks import benchmark as benchmark_named
from spar_core.benchmarks import names
from storage.home import Home

if TYPE_CHECKING:
    from flows.benchmarking.request import BenchmarkRequest, BenchmarkResult
    from flows.showing.score_rows import ScoreRow
    from spar_core.benchmarks.plugin import FileRequest

_ALL = "all"
_PATHS = ("config_file", "judge_prompts")


def _known(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """A benchmark's name; looked up when it is used, so that a benchmark registered later is found too."""
    known = (*names(), _ALL)
    if value not in known:
        raise click.BadParameter(f"{value!r} is not one of {', '.join(known)}.")
    return value


@click.command("eval")
@click.argument("benchmark", callback=_known)
@model_options
@server_options
@file_options
@click.option("--prompts", type=FILE, help="Other prompts than the published, in the benchmark's row format.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="SPAR_DATA_DIR",
    help="Folder of the benchmarks' data.  [default: $SPAR_DATA_DIR, else the hub]",
)
@click.option("--skip-bad", is_flag=True, help="Leave bad rows of --prompts and of answers out, counted.")
@click.option("--by-kind", is_flag=True, help="Also print every kind, category, level and subset.")
@configuration_options
@home_option
@json_option
def evaluate(  # noqa: PLR0913 - one parameter per option
    benchmark: str,
    responses: Path | None,
    judgements: Path | None,
    items: Path | None,
    report: Path | None,
    prompts: Path | None,
    data_dir: Path | None,
    skip_bad: bool,
    by_kind: bool,
    home: Path | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Score a model, a server, or a file of answers.

    \b
    Example:
      spar eval ifeval --responses answers.jsonl --items verdicts.jsonl --json
      spar eval ifeval --model actor@champion --items items.jsonl --report ifeval.html
      spar eval ifeval --model actor@champion --temperature 0.7 --samples 5 --system @system.txt
      spar eval followbench --model http://127.0.0.1:8000/v1 --judge http://127.0.0.1:9000/v1#judge
      spar eval all --model actor@champion --refiner refiner@champion
    """
    if data_dir is not None:
        os.environ["SPAR_DATA_DIR"] = str(data_dir.absolute())  # NLTK's resources are looked for there too
    answers = _one_of(responses, judgements)
    check_places(items, report)
    _check(benchmark, answers, report, prompts, options["model"])
    if answers is not None:
        from spar_core.benchmarks.plugin import FileRequest

        file = FileRequest(answers, items, prompts, data_dir, options["judge"], skip_bad)
        _score_file(benchmark, file, by_kind, as_json)
        return 0
    options["system"] = system_text(options["system"])
    options["chat_template"] = template_text(options["chat_template"])
    paths = {"prompts": prompts, "data_dir": data_dir, **{name: options[name] for name in _PATHS}}
    _measure(
        {
            **options,
            **{name: None if path is None else str(path.absolute()) for name, path in paths.items()},
            "benchmark": benchmark,
            "skip_bad": skip_bad,
            "home": str(opened(home).root),
        },
        by_kind,
        as_json,
        _Files(items, report),
    )
    return 0


def _one_of(responses: Path | None, judgements: Path | None) -> Path | None:
    if responses is not None and judgements is not None:
        raise click.UsageError("give --responses or --judgements, not both: a row may carry both texts")
    return responses or judgements


def _check(benchmark: str, answers: Path | None, report: Path | None, prompts: Path | None, model: str | None) -> None:
    if (answers is None) == (model is None):
        raise click.UsageError("give either --model (a model or server) or --responses / --judgements (a file)")
    asks_nothing = benchmark == _ALL or (answers is None and prompts is None)
    chosen = None if asks_nothing else benchmark_named(benchmark)
    if answers is not None and (chosen is None or not chosen.scores_files):
        of_files = [name for name in names() if benchmark_named(name).scores_files]
        raise click.UsageError(f"`{benchmark}` needs a model: --model; files are scored for {', '.join(of_files)}")
    if report is not None and answers is not None:
        raise click.UsageError("--report is for --model; what a file came to is printed, and --items has its verdicts")
    if prompts is not None and (chosen is None or not chosen.takes_prompts):
        taking = [name for name in names() if benchmark_named(name).takes_prompts]
        raise click.UsageError(f"--prompts is for {' and '.join(taking)}; other data is given with --data-dir")


def _score_file(name: str, request: "FileRequest", by_kind: bool, as_json: bool) -> None:
    from flows.benchmarking.answer_files import score_answer_file

    benchmark = benchmark_named(name)
    found = score_answer_file(benchmark, request)
    licence = () if request.prompts or benchmark.source is None else (benchmark.source.licence,)
    _notes((*found.notes, *licence))
    if as_json:
        click.echo(json.dumps(found.plain, ensure_ascii=False))
        return
    for title, rows in found.sections:
        _table(title, rows, by_kind, benchmark.headlines)


def _preflight(request: "BenchmarkRequest", home: Home) -> None:
    from flows.checks.preflight import preflight
    from flows.checks.work import Chosen, Work, named_models

    config = Chosen(request.preset, request.config_file, request.overrides).configuration(request.model, home)
    work = Work(
        home,
        config,
        named_models(model=request.model, refiner=request.refiner, judge=request.judge),
        prompts=request.prompts,
        benchmarks=request.names(),
        data_dir=Path(request.data_dir) if request.data_dir else None,
        own_prompts=request.prompts is not None,
    )
    preflight(work)


class _Files(NamedTuple):
    """Where a measurement is written, besides the home."""

    items: Path | None
    report: Path | None


def _measure(values: dict[str, Any], by_kind: bool, as_json: bool, files: _Files) -> None:
    from flows.benchmarking.request import BenchmarkRequest

    request = BenchmarkRequest.model_validate(values)
    result = _run(request, quiet=as_json)
    _write(request, result, files)
    _notes((*result.notes, *result.licences))
    if as_json:
        click.echo(json.dumps(result.plain(request), ensure_ascii=False))
        return
    rows, headlines = result.rows(), [metric for name in request.names() for metric in benchmark_named(name).headlines]
    for place, role in dict.fromkeys((row.place, row.role) for row in rows):
        shown = [row for row in rows if (row.place, row.role) == (place, role)]
        _table(f"{place}, {role}", shown, by_kind, headlines)
    click.echo(f"in the catalogue: SELECT * FROM eval_scores WHERE run_id = '{result.run_id}'")


def _write(request: "BenchmarkRequest", result: "BenchmarkResult", files: _Files) -> None:
    if files == (None, None):
        return
    from flows.benchmarking.item_rows import item_rows
    from flows.showing.evaluation_page import write_evaluation_page
    from spar_core.evaluation.row_files import row_writer
    from storage.catalog import open_catalog

    with open_catalog(Path(request.home)) as catalog:
        rows = list(item_rows(catalog, result.run_id))
    if files.items is not None:
        with row_writer(files.items) as sink:
            for row in rows:
                sink.write(row.plain())
    if files.report is not None:
        write_evaluation_page(files.report, result.plain(request), result.rows(), rows)


def _run(request: "BenchmarkRequest", *, quiet: bool) -> "BenchmarkResult":
    from flows.wiring.session import session

    where = opened(Path(request.home))
    _preflight(request, where)
    from flows.benchmarking.answering import check_answering  # with all that flows need: after what is told at once
    from flows.benchmarking.data_check import check_parts

    check_answering(request)
    check_parts(request)
    with session(where, f"eval {request.benchmark}", quiet=quiet):
        from flows.benchmarks import benchmarks

        return benchmarks(request)


def _table(title: str, rows: "Sequence[ScoreRow]", by_kind: bool, headlines: Sequence[str]) -> None:
    from flows.showing.score_rows import COLUMNS

    shown = [row for row in rows if by_kind or row.is_headline or row.metric in headlines] or rows
    table(title, COLUMNS, [row.cells() for row in shown], numeric=set(COLUMNS[1:]))


def _notes(notes: Sequence[str]) -> None:
    for note in notes:
        click.echo(f"spar: {note}", err=True)
