"""`spar search` and `spar refine`: the tree search on its own, on any prompts and models."""

import json
import os
from pathlib import Path

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

_SEARCH_KEYS = ("strategy", "branch", "beam_width", "max_depth", "node_budget")


@click.command()
@click.option("--prompts", required=True, type=click.Path(path_type=Path), help='Rows {"prompt"}, optional "response".')
@model_option("--actor", "Who answers: starter, a folder, actor@champion, a hub id, http://host:port/v1#name&key=VAR.")
@model_option("--refiner", "Who judges and rewrites; the same forms.", required=True)
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder for the tables.")
@click.option("--strategy", type=click.Choice(["bfs", "dfs", "chain"]), help="By level, best first, or one chain.")
@click.option("--branch", type=int, help="Rewrites of each expanded node.")
@click.option("--beam-width", type=int, help="Nodes kept per level, or descended into.")
@click.option("--max-depth", type=int, help="Longest path of rewrites.")
@click.option("--node-budget", type=int, help="Rewrites per tree.")
@click.option("--skip-bad", is_flag=True, help="Record broken rows as drops instead of stopping at the first.")
@server_options
@configuration_options
@home_option
@json_option
def search(  # noqa: PLR0913 - one parameter per option
    prompts: Path,
    actor: str | None,
    refiner: str,
    out: Path,
    skip_bad: bool,
    timeout_s: float | None,
    retries: int | None,
    max_wait_s: float | None,
    fresh: bool,
    model_digest: str | None,
    preset: str | None,
    config_file: Path | None,
    overrides: tuple[str, ...],
    home: Path | None,
    as_json: bool,
    **limits: str | int | None,
) -> int:
    """Generate, judge and tree-search any prompts; writes prompts, responses, votes, trees, ... as Parquet.

    \b
    Example:
      spar search --prompts mine.jsonl --actor starter --refiner starter --out found
      spar search --prompts mine.jsonl --actor http://127.0.0.1:8000/v1 --refiner refiner@champion --out found
    """
    from flows.checks.preflight import preflight
    from flows.checks.work import Chosen, Work, named_models
    from flows.wiring.session import session

    where = opened(home)
    given = [f"method.search.{key}={limits[key]}" for key in _SEARCH_KEYS if limits.get(key) is not None]
    config = Chosen(preset, config_file, (*overrides, *given)).configuration(refiner, where)
    models = named_models(actor=actor, refiner=refiner)
    preflight(Work(where, config, models, prompts=str(prompts), skip_bad=skip_bad))
    with session(where, "search", quiet=as_json):
        from flows.search import SearchRequest
        from flows.search import search as search_flow
        from flows.showing.export import export_tables

        request = SearchRequest(
            prompts=str(prompts),
            actor=actor,
            refiner=refiner,
            home=str(where.root),
            preset=preset,
            config_file=str(config_file) if config_file else None,
            overrides=(*overrides, *given),
            skip_bad=skip_bad,
            timeout_s=timeout_s,
            retries=retries,
            max_wait_s=max_wait_s,
            fresh=fresh,
            model_digest=model_digest,
        )
        result = search_flow(request)
    counts = export_tables(result.artifacts.values(), out)
    if as_json:
        click.echo(json.dumps({"run_id": result.run_id, "out": str(out), "rows": counts}))
    else:
        table(f"tables in {out}", ["table", "rows"], [[name, str(rows)] for name, rows in counts.items()], {"rows"})
    return 0


@click.command()
@click.argument("prompt")
@model_option("--actor", "Who answers.  [default: actor@champion of the home, else starter]")
@model_option("--refiner", "Who judges and rewrites.  [default: refiner@champion of the home, else starter]")
@click.option("--response", help="An answer to start from instead of asking the actor.")
@server_options
@configuration_options
@home_option
@json_option
def refine(  # noqa: PLR0913 - one parameter per option
    prompt: str,
    actor: str | None,
    refiner: str | None,
    response: str | None,
    timeout_s: float | None,
    retries: int | None,
    max_wait_s: float | None,
    fresh: bool,
    model_digest: str | None,
    preset: str | None,
    config_file: Path | None,
    overrides: tuple[str, ...],
    home: Path | None,
    as_json: bool,
) -> int:
    """One prompt: answer it, judge it, search for a better answer, show the tree.

    \b
    Example:
      spar refine "Name three birds. Use only capital letters. Do not use commas."
      spar refine "Name two fruits. Add a title." --response "Here are two fruits: apple, banana."
    """
    from flows.checks.preflight import preflight
    from flows.checks.work import Chosen, Work, named_models
    from flows.refinement import RefineRequest, refine_prompt, show_tree
    from flows.wiring.models import ServerOptions, default_models

    where = opened(home)
    actor, refiner = (given or default for given, default in zip((actor, refiner), default_models(where), strict=True))
    config = Chosen(preset, config_file, overrides).configuration(refiner, where)
    preflight(Work(where, config, named_models(actor=actor, refiner=refiner)))
    os.environ.setdefault("TQDM_DISABLE", "1")
    request = RefineRequest(
        prompt=prompt,
        actor=actor,
        refiner=refiner,
        response=response,
        preset=preset,
        config_file=config_file,
        overrides=overrides,
        servers=ServerOptions(timeout_s, retries, max_wait_s, fresh, model_digest),
    )
    found = refine_prompt(request, where)
    if as_json:
        click.echo(json.dumps(found.plain(), ensure_ascii=False))
    else:
        show_tree(found)
    if found.problem:
        click.echo(f"spar: {found.problem}", err=True)
        return 1
    return 0
