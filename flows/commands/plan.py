"""`spar plan`: what a run would take, cost and need, before it starts."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flows.commands.options import configuration_options, home_option, json_option, requested_run
from flows.wiring.request import Run

if TYPE_CHECKING:
    from flows.planning.plan import PlanOptions


@click.command()
@configuration_options
@click.option("--iterations", type=click.IntRange(min=0), help="Self-play iterations after the warm start.")
@click.option("--run-id", help="Name of the run.  [default: preset and a digest of the configuration]")
@click.option("--gpus", type=click.IntRange(1, 1024), help="GPUs in all.  [default: those of this machine]")
@click.option("--gpu-memory", type=click.FloatRange(1, 2048), metavar="GIB", help="Memory of each.")
@click.option(
    "--device", help="Their kind: a100, h100, h200, b200, mi300x, l40s, rtx4090, a10, l4, or cpu, this machine's."
)
@click.option("--price", type=click.FloatRange(min=0), metavar="PER_GPU_HOUR", help="What an hour of a GPU costs.")
@click.option(
    "--rates",
    type=click.Path(path_type=Path),
    help="Measured rates: the home of an earlier run, or a YAML file with tokens per second and GPU "
    "(read, written, trained).  [default: this home's runs, else assumptions]",
)
@click.option("--assume", multiple=True, metavar="NAME=NUMBER", help="Replace an assumption; may be repeated.")
@home_option
@json_option
def plan(  # noqa: PLR0913 - one parameter per option
    preset: str | None,
    config_file: Path | None,
    overrides: tuple[str, ...],
    iterations: int | None,
    run_id: str | None,
    gpus: int | None,
    gpu_memory: float | None,
    device: str | None,
    price: float | None,
    rates: Path | None,
    assume: tuple[str, ...],
    home: Path | None,
    as_json: bool,
) -> int:
    """Stages, rows, tokens, hours, price, memory and disk of a run. Starts nothing, needs no weights.

    Exit code 1 where something does not fit; the message says what would.

    \b
    Example:
      spar plan --preset llama3-8b --gpus 8 --gpu-memory 80 --price 2.50
      spar plan --preset mistral-7b --gpus 1 --gpu-memory 24 --set training.actor.lora.rank=16
      spar plan --rates .spar --iterations 5
    """
    from flows.planning.plan import PlanOptions

    request = requested_run(preset, config_file, overrides, home, iterations, run_id)
    run = request.resolve()
    run.home.check_layout()
    return show_plan(run, PlanOptions(gpus, gpu_memory, device, price, rates, assume), as_json=as_json)


def show_plan(run: Run, options: "PlanOptions", *, as_json: bool) -> int:
    """Print the plan of a run; 1 where it does not fit."""
    from flows.planning.plan import make_plan, plain
    from flows.planning.shown import show
    from flows.showing.terminal import warnings_told

    with warnings_told():
        made = make_plan(run, options)
    if as_json:
        click.echo(json.dumps(plain(made)))
    else:
        show(made)
    return 1 if made.fit.problems else 0
