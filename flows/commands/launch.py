"""`spar launch`: job files of a run for a cluster, and their submission."""

from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import click

from flows.commands.options import configuration_options, home_option, requested_run


def _launch_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        home_option,
        click.option(
            "--out",
            type=click.Path(path_type=Path, file_okay=False),
            help="Folder for the job files; for Slurm on storage that all machines share.  [default: HOME/launch/RUN]",
        ),
        click.option("--dry-run", is_flag=True, help="Print the job files and start nothing; written only with --out."),
        click.option("--run-id", help="Name of the run.  [default: preset and a digest of the configuration]"),
        click.option("--iterations", type=click.IntRange(min=0), help="Self-play iterations after the warm start."),
        configuration_options,
    ):
        command = option(command)
    return command


@click.group()
def launch() -> None:
    """Start a run on a cluster, from the block `deployment` of its configuration (docs/deployment.md)."""


@launch.command()
@_launch_options
def slurm(**options: Any) -> int:
    """Write batch scripts for Slurm and hand them to sbatch. A run that was ended is started again by the same command.

    \b
    Example:
      spar launch slurm --config run.yaml --dry-run
      spar launch slurm --preset llama3-8b --set deployment.slurm.partition=gpu --home /shared/spar
    """
    from flows.launch import slurm as cluster
    from flows.launch.jobs import Places

    def places(run: Any, folder: Path) -> Places:
        workdir = run.config.deployment.workdir or Path.cwd()
        return Places(PurePosixPath(workdir), PurePosixPath(run.home.root.absolute()), PurePosixPath(folder))

    return _launched(cluster, places, **options)


@launch.command()
@_launch_options
def k8s(**options: Any) -> int:
    """Write manifests for Kubernetes and hand them to kubectl. --home says only where the job files are kept.

    \b
    Example:
      spar launch k8s --config run.yaml --set deployment.kubernetes.image=registry.example.org/spar:cuda --dry-run
      spar launch k8s --config run.yaml --out manifests
    """
    from flows.launch import kubernetes as cluster
    from flows.launch.jobs import Places

    def places(run: Any, _folder: Path) -> Places:
        mount = PurePosixPath(run.config.deployment.kubernetes.mount)
        return Places(PurePosixPath(run.config.deployment.workdir or mount), mount / "home", cluster.FILES)

    return _launched(cluster, places, **options)


def _launched(  # noqa: PLR0913 - one parameter per option
    cluster: Any,
    places_of: Callable[[Any, Path], Any],
    preset: str | None,
    config_file: Path | None,
    overrides: tuple[str, ...],
    iterations: int | None,
    run_id: str | None,
    dry_run: bool,
    out: Path | None,
    home: Path | None,
) -> int:
    from flows.launch.jobs import jobs_of, named

    run = requested_run(preset, config_file, overrides, home, iterations, run_id).resolve()
    run.home.check_layout()
    if run_id is None:
        run = named(run)
    folder = (out or run.home.root / "launch" / run.run_id).absolute()
    places = places_of(run, folder)
    files: Mapping[str, str] = cluster.files_of(run, jobs_of(run, places), places)
    if dry_run:
        for name, text in files.items():
            click.echo(f"# --- {folder / name}\n{text}")
    if out is not None or not dry_run:
        (folder / "logs").mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
        click.echo(f"{len(files)} files in {folder}", err=True)
    if not dry_run:
        click.echo(f"started: {', '.join(cluster.submit(folder, files))}")
    return 0
