"""`spar eval`: benchmarks for a model, a server, or a file of answers."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import flows.benchmarking.own  # noqa: F401 - makes them known
from flows.commands.options import (
    configuration_options,
    home_option,
    json_option,
    model_option,
    opened,
    server_options,
    table,
)
from spar_core.benchmarks import benchmark as benchmark_named
from spar_core.benchmarks import names
from storage.home import Home

if TYPE_CHECKING:
    from flows.benchmarking.request import BenchmarkRequest, BenchmarkResult
    from flows.showing.score_rows import ScoreRow
    from spar_core.benchmarks.plugin import FileRequest

_ALL = "all"
_PATHS = ("config_file", "judge_prompts")
_FILE = click.Path(path_type=Path, dir_okay=False)


def _file_options(command: Any) -> Any:
    for option in (
        click.option("--items", type=_FILE, help="Where the verdict on each answer goes (JSON lines)."),
        click.option("--judgements", type=_FILE, help="Judge texts or comparisons made elsewhere."),
        click.option("--responses", type=_FILE, help="Answers made elsewhere: JSON lines, plain or gzip."),
    ):
        command = option(command)
    return command


def _model_options(command: Any) -> Any:
    for option in (
        click.option("--unsafe-code", is_flag=True, help="`ability`: run HumanEval, which executes generated code."),
        click.option("--max-tokens", type=click.IntRange(1), default=2048, show_default=True, help="Per answer."),
        click.option("--strategy", "strategies", multiple=True, help="`llmbar`.  [default: Votes and ours-Vanilla]"),
        click.option(
            "--judge-prompts",
            type=click.Path(path_type=Path, file_okay=False, exists=True),
            help="`llmbar`, `followbench`: folder of the published prompts.  [default: this project's wording]",
        ),
        click.option(
            "--language", "languages", multiple=True, type=click.Choice(["en", "zh"]), help="`followbench`; both."
        ),
        click.option("--limit", type=click.IntRange(1), help="Evenly chosen items, for a first look."),
        click.option("--role", type=click.Choice(["actor", "refiner"]), help="Role the scores are filed under."),
        model_option("--judge", "Who judges FollowBench: a model as for --model; with a file, just a name."),
        model_option("--refiner", "Who compares (llmbar) or mends (refinement).  [default: the model]"),
        model_option("--model", "starter, a folder, actor@champion, a hub id, or http://host:port/v1#name&key=VAR."),
    ):
        command = option(command)
    return command


def _known(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """A benchmark's name; looked up when it is used, so that a benchmark registered later is found too."""
    known = (*names(), _ALL)
    if value not in known:
        raise click.BadParameter(f"{value!r} is not one of {', '.join(known)}.")
    return value


@click.command("eval")
@click.argument("benchmark", callback=_known)
@_model_options
@server_options
@_file_options
@click.option("--prompts", type=_FILE, help="Other prompts than the published, in the benchmark's row format.")
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
      spar eval ifeval --model actor@champion
      spar eval followbench --model http://127.0.0.1:8000/v1 --judge http://127.0.0.1:9000/v1#judge
      spar eval all --model actor@champion --refiner refiner@champion
    """
    if data_dir is not None:
        os.environ["SPAR_DATA_DIR"] = str(data_dir.absolute())  # NLTK's resources are looked for there too
    answers = _one_of(responses, judgements)
    _check(benchmark, answers, items, prompts, options["model"])
    if answers is not None:
        from spar_core.benchmarks.plugin import FileRequest

        file = FileRequest(answers, items, prompts, data_dir, options["judge"], skip_bad)
        _score_file(benchmark, file, by_kind, as_json)
        return 0
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
    )
    return 0


def _one_of(responses: Path | None, judgements: Path | None) -> Path | None:
    if responses is not None and judgements is not None:
        raise click.UsageError("give --responses or --judgements, not both: a row may carry both texts")
    return responses or judgements


def _check(benchmark: str, answers: Path | None, items: Path | None, prompts: Path | None, model: str | None) -> None:
    if (answers is None) == (model is None):
        raise click.UsageError("give either --model (a model or server) or --responses / --judgements (a file)")
    asks_nothing = benchmark == _ALL or (answers is None and prompts is None)
    chosen = None if asks_nothing else benchmark_named(benchmark)
    if answers is not None and (chosen is None or not chosen.scores_files):
        of_files = [name for name in names() if benchmark_named(name).scores_files]
        raise click.UsageError(f"`{benchmark}` needs a model: --model; files are scored for {', '.join(of_files)}")
    if items is not None and answers is None:
        raise click.UsageError("--items belongs to a file of answers; a model's items are in `spar sql`: eval_items")
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


def _measure(values: dict[str, Any], by_kind: bool, as_json: bool) -> None:
    from flows.benchmarking.request import BenchmarkRequest

    request = BenchmarkRequest.model_validate(values)
    result = _run(request, quiet=as_json)
    _notes((*result.notes, *result.licences))
    if as_json:
        click.echo(json.dumps(result.plain(request), ensure_ascii=False))
        return
    rows, headlines = result.rows(), [metric for name in request.names() for metric in benchmark_named(name).headlines]
    for benchmark in dict.fromkeys(row.benchmark for row in rows):
        for role in dict.fromkeys(row.role for row in rows if row.benchmark == benchmark):
            shown = [row for row in rows if (row.benchmark, row.role) == (benchmark, role)]
            _table(f"{benchmark}, {role}", shown, by_kind, headlines)
    click.echo(f"in the catalogue: SELECT * FROM eval_scores WHERE run_id = '{result.run_id}'")


def _run(request: "BenchmarkRequest", *, quiet: bool) -> "BenchmarkResult":
    from flows.wiring.session import session

    where = opened(Path(request.home))
    _preflight(request, where)
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
