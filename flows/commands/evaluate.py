"""`spar eval`: benchmarks for a model, a server, or a file of answers."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from flows.commands.options import (
    configuration_options,
    home_option,
    json_option,
    model_option,
    opened,
    server_options,
    table,
)
from storage.home import Home

if TYPE_CHECKING:
    from flows.benchmark_request import BenchmarkRequest, BenchmarkResult
    from flows.score_rows import ScoreRow
    from spar_core.evaluation.data_sources import Benchmark

_OF_FILES = ("ifeval", "ifbench", "followbench", "llmbar")
_BENCHMARKS = (*_OF_FILES, "starter", "refinement", "ability", "all")
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
        click.option("--strategy", "strategies", multiple=True, help="`llmbar`.  [default: Votes and Vanilla]"),
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


@click.command("eval")
@click.argument("benchmark", type=click.Choice(_BENCHMARKS))
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
        _score_file(benchmark, answers, items, prompts, data_dir, options["judge"], by_kind, as_json)
        return 0
    given = {name: value for name, value in options.items() if name != "config_file"}
    config_file = options["config_file"]
    result = _run(
        {
            **given,
            "benchmark": benchmark,
            "home": str(opened(home).root),
            "prompts": str(prompts.absolute()) if prompts else None,
            "data_dir": str(data_dir.absolute()) if data_dir else None,
            "config_file": str(config_file.absolute()) if config_file else None,
        },
        quiet=as_json,
    )
    _show_result(result, by_kind, as_json)
    return 0


def _one_of(responses: Path | None, judgements: Path | None) -> Path | None:
    if responses is not None and judgements is not None:
        raise click.UsageError("give --responses or --judgements, not both: a row may carry both texts")
    return responses or judgements


def _check(benchmark: str, answers: Path | None, items: Path | None, prompts: Path | None, model: str | None) -> None:
    if (answers is None) == (model is None):
        raise click.UsageError("give either --model (a model or server) or --responses / --judgements (a file)")
    if answers is not None and benchmark not in _OF_FILES:
        raise click.UsageError(f"`{benchmark}` needs a model: --model; files are scored for {', '.join(_OF_FILES)}")
    if items is not None and answers is None:
        raise click.UsageError("--items belongs to a file of answers; a model's items are in `spar sql`: eval_items")
    if prompts is not None and benchmark not in ("ifeval", "ifbench"):
        raise click.UsageError("--prompts is for ifeval and ifbench; other data is given with --data-dir")


def _score_file(
    benchmark: str,
    answers: Path,
    items: Path | None,
    prompts: Path | None,
    data_dir: Path | None,
    judge: str | None,
    by_kind: bool,
    as_json: bool,
) -> None:
    from flows.answer_files import FileRequest, licence_of, score_answer_file
    from flows.score_rows import rows_of_scores

    name = cast("Benchmark", benchmark)
    found = score_answer_file(FileRequest(name, answers, items, prompts, data_dir, judge))
    _notes(found.notes if prompts else (*found.notes, licence_of(name)))
    if as_json:
        click.echo(json.dumps(found.plain, ensure_ascii=False))
        return
    for title, scores in found.sections:
        _table(title, rows_of_scores(benchmark, scores), by_kind)


def _run(values: dict[str, Any], *, quiet: bool) -> "BenchmarkResult":
    from flows.benchmark_request import BenchmarkRequest
    from flows.session import session

    where, request = opened(Path(values["home"])), BenchmarkRequest.model_validate(values)
    _preflight(request, where)
    with session(where, f"eval {request.benchmark}", quiet=quiet):
        from flows.benchmarks import benchmarks

        return benchmarks(request)


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


def _show_result(result: "BenchmarkResult", by_kind: bool, as_json: bool) -> None:
    _notes((*result.notes, *result.licences))
    rows = result.rows()
    if as_json:
        scores = [row.plain() for row in rows]
        click.echo(json.dumps({"run_id": result.run_id, "judge": result.judge, "scores": scores}, ensure_ascii=False))
        return
    for benchmark in dict.fromkeys(row.benchmark for row in rows):
        for role in dict.fromkeys(row.role for row in rows if row.benchmark == benchmark):
            _table(f"{benchmark}, {role}", [r for r in rows if (r.benchmark, r.role) == (benchmark, role)], by_kind)
    click.echo(f"in the catalogue: SELECT * FROM eval_scores WHERE run_id = '{result.run_id}'")


def _table(title: str, rows: "Sequence[ScoreRow]", by_kind: bool) -> None:
    from flows.score_rows import COLUMNS

    shown = [row for row in rows if by_kind or row.is_headline] or rows
    table(title, COLUMNS, [row.cells() for row in shown], numeric=set(COLUMNS[1:]))


def _notes(notes: Sequence[str]) -> None:
    for note in notes:
        click.echo(f"spar: {note}", err=True)
