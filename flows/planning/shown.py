"""A plan on the terminal."""

import click

from flows.commands.options import table
from flows.planning.plan import Plan
from spar_core.planning.devices import GIB
from spar_core.planning.stage_work import TRAININGS

_SIGNIFICANT = 3
_WORTH_TELLING_S = 600.0


def show(plan: Plan) -> None:
    """Print stages, memory, totals, and what does not fit."""
    _show_stages(plan)
    _show_memory(plan)
    click.echo(_totals(plan))
    _show_bases(plan)
    if plan.settings:
        click.echo("settings for this hardware: " + " ".join(f"--set {setting}" for setting in plan.settings))
    if faster := _faster_type(plan):
        click.echo(faster)
    for problem in plan.fit.problems:
        click.echo(f"does not fit: {problem}", err=True)


def _show_stages(plan: Plan) -> None:
    on_gpu = plan.hardware.device.is_gpu
    columns = ["iteration", "stage", "state", "rows", "tokens read", "tokens written", "minutes"]
    columns += ["GPU hours"] if on_gpu else []
    columns += ["price"] if plan.cost(0.0) is not None else []
    columns += ["time is"]
    alike: dict[tuple[str, ...], list[int | None]] = {}  # iterations of which a stage is planned alike share a row
    for step in plan.steps:
        work, seconds = step.forecast.work, step.forecast.seconds
        does = step.state == "compute"
        row = [step.stage, step.state, f"{work.rows:,}"]
        row += [_count(work.read) if does else "-", _count(work.written) if does else "-", f"{seconds / 60:.1f}"]
        row += [f"{plan.hours_of(seconds):.2f}"] if on_gpu else []
        cost = plan.cost(seconds)
        row += [] if cost is None else [f"{cost:,.2f}"]
        alike.setdefault((*row, step.forecast.basis if does else ""), []).append(step.iteration)
    rows = [[_iterations(iterations), *row] for row, iterations in alike.items()]
    numeric = set(columns) - {"stage", "state", "time is"}
    table(f"plan of {plan.run.run_id} on {plan.hardware.shown()}", columns, rows, numeric=numeric)


def _iterations(numbers: list[int | None]) -> str:
    """`1`, `1-3, each` or `1, 3, each`."""
    known = [number for number in numbers if number is not None]
    if len(known) < 2:
        return str(known[0]) if known else "-"
    whole = known == list(range(known[0], known[-1] + 1))
    return f"{known[0]}-{known[-1]}, each" if whole else ", ".join([*map(str, known), "each"])


def _show_memory(plan: Plan) -> None:
    of = f"of {plan.hardware.device.memory / GIB:.0f}"
    parts = ["weights", "gradients", "optimizer", "copies", "activations", "workspace", "reserve"]
    where = "GPU" if plan.hardware.device.is_gpu else "process"
    rows = [
        [
            training.stage,
            *(f"{getattr(training.memory, part) / GIB:.2f}" for part in parts),
            f"{training.memory.total / GIB:.2f} {of}",
            "yes" if training.fits else "NO",
        ]
        for training in plan.fit.trainings
    ]
    columns = ["training", *parts, "total", "fits"]
    if rows:
        table(f"memory of training, GiB per {where}", columns, rows, numeric=set(columns[1:-1]))
    rows = []
    for server in plan.fit.servers:
        if server.served is None:
            rows.append([server.role, "-", "-", "-", "-", "-", "NO"])
            continue
        memory, layout = server.served.memory, f"{server.served.replicas} x {server.served.split}"
        held = [f"{memory.weights / GIB:.2f}", f"{memory.cache / GIB:.2f}", f"{memory.sequences:,.0f}"]
        rows.append([server.role, layout, *held, f"{memory.tokens:,}", "yes" if server.fits else "NO"])
    columns = ["serving", "replicas x GPUs", "weights", "cache", "sequences at once", "of tokens", "fits"]
    table(f"memory of serving, GiB per {where}, for each replica", columns, rows, numeric=set(columns[1:-1]))


def _totals(plan: Plan) -> str:
    hours = f"{plan.seconds / 3600:.2f} h"
    if plan.hardware.device.is_gpu:
        hours += f", {plan.gpu_hours:,.1f} GPU hours"
        cost = plan.cost(plan.seconds)
        hours += "" if cost is None else f", price {cost:,.2f}"
    disk = plan.disk
    return (
        f"in all: {hours}; CPU memory of the largest training {plan.host / GIB:,.0f} GiB; disk up to "
        f"{disk.peak / GIB:,.1f} GiB (models {disk.models / GIB:,.1f}, texts {disk.texts / GIB:,.1f}, "
        f"checkpoints while training {disk.checkpoints / GIB:,.1f})"
    )


def _faster_type(plan: Plan) -> str | None:
    """What a CPU's bfloat16 instructions would save of the trainings that are planned in float32."""
    device = plan.hardware.device
    gain = 1.0 if device.is_gpu else device.training_flops("bf16") / device.flops
    seconds: dict[str, float] = {}
    slow = {fit.stage for fit in plan.fit.trainings if fit.precision == "fp32"}
    for step in plan.steps:
        if step.state == "compute" and step.stage in slow:
            name = TRAININGS[step.stage]
            seconds[name] = seconds.get(name, 0.0) + step.forecast.seconds
    saved = sum(seconds.values()) * (1 - 1 / gain)
    if saved < _WORTH_TELLING_S:
        return None
    settings = " ".join(f"--set training.{name}.precision=bf16" for name in seconds)
    return f"this CPU has bfloat16 instructions, about {gain:.1f} times as fast: {settings} saves {saved / 3600:.1f} h"


def _show_bases(plan: Plan) -> None:
    bases = {step.forecast.basis for step in plan.steps if step.state == "compute"}
    if plan.hardware.assumed:
        click.echo(
            "the GPUs are assumed: nobody named any (--gpus, --gpu-memory, --device), and there are none here; "
            "--device cpu plans for this CPU"
        )
    if "measured" in bases:
        click.echo("measured: from finished stages of the same models; that holds for the machine that made them")
    if "assumed" in bases:
        named = ", ".join(f"{name}={value:g}" for name, value in plan.assumed._asdict().items())
        click.echo(f"assumed (--assume NAME=NUMBER changes one): {named}")
    if "elsewhere" in bases:
        click.echo("elsewhere: servers that somebody else runs are asked; their time and price are not in the plan")
    if "unknown" in bases:
        stages = dict.fromkeys(step.stage for step in plan.steps if step.forecast.basis == "unknown")
        click.echo(f"not estimated: {', '.join(stages)}")


def _count(number: float) -> str:
    """`12.3M`."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.{_SIGNIFICANT - 2}f}{letter}"
    return f"{number:.0f}"
