"""`spar probe`: whether a model keeps the forms of each role, before anything is spent on it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flows.commands.options import configuration_options, home_option, json_option, model_option, server_options, table

if TYPE_CHECKING:
    from flows.probing import Probe

_COLUMNS = ["role", "prompt set", "readable", "95 % interval", "tokens, median", "95 %", "cut", "as before", "tokens/s"]


@click.command()
@click.argument("model")
@model_option("--refiner", "Who judges and rewrites.  [default: MODEL too]")
@click.option("--prompts", type=click.Path(path_type=Path), help='Requests of your own: rows {"prompt"}.')
@click.option("--prompt-set", "sets", multiple=True, metavar="NAME", help="Try this one too; may be repeated.")
@click.option("--requests", type=click.IntRange(5, 1000), help="Requests per role.  [default: 20]")
@click.option("--max-tokens", type=click.IntRange(1, 131072), help="Most tokens of a text.  [default: 256]")
@click.option("--again", is_flag=True, help="Measure anew what the home has a probe of.")
@server_options
@configuration_options
@home_option
@json_option
def probe(  # noqa: PLR0913 - one parameter per option
    model: str,
    refiner: str | None,
    prompts: Path | None,
    sets: tuple[str, ...],
    requests: int | None,
    max_tokens: int | None,
    again: bool,
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
    """Ask a model twenty requests in each role: what share can be read, how long and how fast it answers.

    Tries the configured prompt set, `default` and `plain`; says which fits, and with which token limits. Exit code 1
    where none does. What was found is kept in the home.

    \b
    Example:
      spar probe HuggingFaceTB/SmolLM2-135M-Instruct
      spar probe http://127.0.0.1:8000/v1 --set method.judging.verdict=continuation
    """
    from flows.checks.preflight import preflight
    from flows.checks.work import Chosen, Work, named_models
    from flows.commands.options import opened
    from flows.probing import TRIED, Probing, probe_prompts
    from flows.wiring.models import ModelFinder, ServerOptions, check_options
    from tasks.engines import EnginePool

    where = opened(home)
    given = {"requests": requests, "max_tokens": max_tokens}
    own = tuple(f"probe.{name}={value}" for name, value in given.items() if value is not None)
    config = Chosen(preset, config_file, (*overrides, *own)).configuration(model, where)
    servers = ServerOptions(timeout_s, retries, max_wait_s, fresh, model_digest)
    check_options(servers, (model, refiner))
    preflight(Work(where, config, named_models(actor=model, refiner=refiner)))
    where.private()
    finder = ModelFinder(where, config.engine, servers)
    asked = probe_prompts(config, str(prompts) if prompts else None)
    probing = Probing(where, config, finder.served(model), finder.served(refiner or model), asked)
    pool = EnginePool(logs=where.logs, records=where.servers)
    try:
        found = probing.run(pool, [config.method.prompt_set, *TRIED, *sets], again=again)
    finally:
        pool.close_all()
    if as_json:
        click.echo(json.dumps({"model": model, "refiner": refiner or model, **found.plain()}))
    else:
        _show(found, model, held=config.method.judging.verdict == "continuation")
    return 0 if found.fitting else 1


def _show(found: "Probe", model: str, *, held: bool) -> None:
    from flows.probing import remedy, told

    rows = []
    for role in found.roles:
        share, known = role.share, role.share.known
        opened = f"{role.readable} of {role.requests - role.open}" + (f" ({role.open} open)" if role.open else "")
        lengths = [str(role.length(0.5)), str(role.length(0.95)), f"{100 * role.cut_share:.0f} %"]
        same = str(role.unchanged) if role.role == "refiner" else ""
        interval = share.bounds(100, 0) if known else ""
        rows.append([role.role, role.prompt_set, opened, interval, *lengths, same, f"{role.rate:.0f}"])
    table(f"{model}, at most {found.actor.limit} tokens", _COLUMNS, rows, numeric=set(_COLUMNS[3:]))
    if any(role.open for role in found.roles):
        click.echo("open: cut by the probe's own limit, so nothing is known of them; raise --max-tokens")
    for role in found.roles:
        if role.example:
            click.echo(f"{role.role}, {role.prompt_set}, not readable: {role.example!r}")
    if found.fitting is None:
        click.echo(f"no prompt set fits: {remedy(found, next(iter(found.sets)), held=held)}")
        return
    click.echo(f"prompt set {found.fitting} fits ({', '.join(told(role) for role in found.sets[found.fitting])}):")
    settings = {"method.prompt_set": found.fitting, **found.limits}
    click.echo("  " + " ".join(f"--set {key}={value}" for key, value in settings.items()))
    untold = [role for role in (found.actor, *found.sets[found.fitting]) if role.fitting_limit is None and role.tokens]
    for role in untold:
        click.echo(f"  method.{role.limit_key}.max_tokens: {role.cut_share:.0%} are longer than {role.limit}")
