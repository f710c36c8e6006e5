"""`spar train` and `spar inspect`: training on given data alone, and what such data hold."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flows.commands.options import configuration_options, home_option, json_option, model_option, opened, table
from spar_core.errors import ConfigError

if TYPE_CHECKING:
    from collections import Counter

    from flows.training import TrainedModel
    from spar_core.data.inspection import Contents
    from spar_core.records import ModelRole

_SOURCE = "a file, a folder, or a data set of the hub by name (docs/data.md)"


@click.command()
@click.argument("role", type=click.Choice(["actor", "refiner"]))
@click.option("--pairs", metavar="SOURCE", help=f"Preference pairs, learned from by DPO: {_SOURCE}.")
@click.option("--examples", metavar="SOURCE", help="Examples to be supervised on; the same forms.")
@model_option("--model", "Where training starts: starter, a folder, actor/2, a hub id.  [default: the preset's model]")
@click.option("--skip-bad", is_flag=True, help="Record broken rows as drops instead of stopping at the first.")
@configuration_options
@home_option
@json_option
def train(  # noqa: PLR0913 - one parameter per option
    role: "ModelRole",
    pairs: str | None,
    examples: str | None,
    model: str | None,
    skip_bad: bool,
    preset: str | None,
    config_file: Path | None,
    overrides: tuple[str, ...],
    home: Path | None,
    as_json: bool,
) -> int:
    """Train the actor or the refiner on given data alone; the model is registered as candidate. Again: resumes.

    Settings: training.actor for the actor's pairs, training.judge for the refiner's, training.warm_start_actor and
    training.warm_start_refiner for examples.

    \b
    Example:
      spar train refiner --examples judgements.jsonl
      spar train actor --pairs CCCCCC/SPaR --preset llama3-8b --model /models/llama3-8b-instruct
      spar train actor --examples 'chats/#files=sft/*.json' --set training.warm_start_actor.epochs=2
    """
    if (pairs is None) == (examples is None):
        raise click.UsageError("give either --pairs (learned from by DPO) or --examples (supervised)")
    from flows.checks.preflight import preflight
    from flows.checks.work import Chosen, GivenData, of_training
    from flows.wiring.session import session
    from spar_core.engines.model_reference import STARTER, is_server

    if model is not None and is_server(model):
        raise ConfigError("a model that is trained needs its weights: --model takes a folder, a hub id or actor/2")
    where = opened(home)
    config = Chosen(preset, config_file, overrides).configuration(model or STARTER, where)
    given = GivenData(pairs or examples or "", role, pairs is not None, skip_bad)
    preflight(of_training(where, config, model, given))
    with session(where, f"train {role}", quiet=as_json):
        from flows.training import TrainRequest, training

        request = TrainRequest(
            role=role,
            home=str(where.root),
            pairs=pairs,
            examples=examples,
            model=model,
            preset=preset,
            config_file=str(config_file.absolute()) if config_file else None,
            overrides=overrides,
            skip_bad=skip_bad,
        )
        trained = training(request)
    _show(role, trained, where.root, as_json)
    return 0


@click.command("inspect")
@click.argument("source")
@click.option(
    "--prompt-set", help="A prompt set of your own, whose format.yaml says how its verdicts and markers look."
)
@json_option
def inspect_data(source: str, prompt_set: str | None, as_json: bool) -> int:
    """What training data hold and for whom: shapes, pairs, judgements, refinements, broken rows, what is lacking.

    \b
    Example:
      spar inspect CCCCCC/SPaR
      spar inspect 'chats/#files=sft/*.json'
    """
    from spar_core.data.inspection import inspect_source

    contents = inspect_source(source, prompt_set)
    if as_json:
        click.echo(json.dumps(contents.plain(), ensure_ascii=False))
    else:
        _show_contents(contents)
    return 0


def _show(role: str, trained: "TrainedModel", home: Path, as_json: bool) -> None:
    plain = trained.plain()
    if as_json:
        click.echo(json.dumps(plain, ensure_ascii=False))
        return
    rows = []
    for stage in ("data", "training"):
        drops = ", ".join(f"{count} {reason}" for reason, count in plain[stage]["drops"].items())
        rows.append([stage, str(plain[stage]["rows_in"]), str(plain[stage]["rows_out"]), drops or "-"])
    columns = ["stage", "rows in", "rows out", "dropped"]
    table(f"run {trained.run_id}", columns, rows, numeric={"rows in", "rows out"})
    where, name = f"--home {home}", trained.reference
    benchmark = "ifeval" if role == "actor" else "llmbar"
    click.echo(
        f"{name}: {plain['training']['steps']} steps with {trained.settings}\n  {trained.model.location}\nLook next:\n"
        f"  spar eval {benchmark} --model {name} {where}\n"
        f"  spar refine --{role} {name} {where} PROMPT\n"
        f"  spar run --set models.{role}={name} --set warm_start.source=none {where}  # with your preset\n"
        f"  spar status {trained.run_id} {where}"
    )


def _show_contents(contents: "Contents") -> None:
    from spar_core.data.inspection import USES

    uses = [use for use in USES if contents.uses[use]]
    rows = [
        [file.name, _counts(file.shapes), str(file.rows), *(str(file.uses[use] or "-") for use in uses)]
        for file in contents.files
    ]
    table(contents.source, ["file", "shapes", "rows", *uses], rows, numeric={"rows", *uses})
    for file in contents.files:
        for problem in file.worst():
            click.echo(f"{problem.first}: {problem.message}" + (f" ({problem.rows} rows)" if problem.rows > 1 else ""))
        if file.verdicts:
            click.echo(f"{file.name}: judgements say {_counts(file.verdicts)}")
    if contents.left_out:
        click.echo(f"left out, as named for a held-out split (#split=NAME reads them): {', '.join(contents.left_out)}")
    for said in contents.lacking():
        click.echo(said)
    commands = contents.commands()
    if commands:
        click.echo("\n".join(["Train on it:", *(f"  {command}" for command in commands)]))


def _counts(counted: "Counter[str]") -> str:
    return ", ".join(f"{count} {name}" for name, count in counted.most_common()) or "-"
