"""The `spar` command line. Commands import what they need when they run, so `--help` answers at once."""

import signal
import sys
import threading
from typing import Any

import click

from spar_core.errors import ConfigError, SparError
from spar_core.own_version import own_version
from spar_core.secrets import hide_in_logs, redacted_text

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
_COMMANDS = {
    "run": "flows.commands.run:run",
    "plan": "flows.commands.plan:plan",
    "experiment": "flows.commands.experiment:experiment",
    "status": "flows.commands.inspect:status",
    "sql": "flows.commands.inspect:sql",
    "probe": "flows.commands.probe:probe",
    "train": "flows.commands.train:train",
    "inspect": "flows.commands.train:inspect_data",
    "lineage": "flows.commands.lineage:lineage",
    "compare": "flows.commands.compare:compare",
    "search": "flows.commands.search:search",
    "refine": "flows.commands.search:refine",
    "eval": "flows.commands.evaluate:evaluate",
    "view": "flows.commands.view:view",
    "report": "flows.commands.report:report",
    "ui": "flows.commands.ui:ui",
    "doctor": "flows.commands.doctor:doctor",
    "launch": "flows.commands.launch:launch",
    "db": "flows.commands.db:db",
    "gc": "flows.commands.gc:gc",
}


class LazyGroup(click.Group):
    """Finds a command's module when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order a user meets them."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        target = _COMMANDS.get(cmd_name)
        if target is None:
            return None
        module, _, name = target.partition(":")
        imported = __import__(module, fromlist=[name])
        command: click.Command = getattr(imported, name)
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(own_version())
def cli() -> None:
    """Self-play with tree-search refinement: run it, resume it, look into it.

    \b
    Example:
      spar plan                    # what a run would take and cost
      spar run                     # three iterations of the embedded starter model on CPU
      spar status                  # its stages
      spar sql "SELECT * FROM eval_scores"
    """


def main(arguments: list[str] | None = None) -> None:
    """Entry point: one clear message and an exit code instead of a traceback for what a user can cause."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    sys.exit(invoke(arguments))


def _interrupt(_number: int, _frame: object) -> None:
    """Ctrl-C or a polite kill: running shards end at once, servers and trainings of this process are stopped."""
    if "tasks.runtime" in sys.modules:
        # Not here: the main thread may just hold a lock that this needs, such as by an earlier Ctrl-C.
        threading.Thread(target=sys.modules["tasks.runtime"].Runtime.interrupt_all, daemon=True).start()
    raise KeyboardInterrupt


def invoke(arguments: list[str] | None = None) -> int:
    """Run a command line and return its exit code (0 ok, 1 failed run, 2 bad usage, 130 interrupted)."""
    hide_in_logs()
    try:
        result: Any = cli.main(args=arguments, prog_name="spar", standalone_mode=False)
    except click.UsageError as error:
        error.show()
        return EXIT_USAGE
    except click.exceptions.Exit as error:
        return int(error.exit_code)
    except click.ClickException as error:
        error.show()
        return EXIT_FAILED
    except ConfigError as error:
        click.echo(redacted_text(f"spar: {error}"), err=True)
        return EXIT_USAGE
    except SparError as error:
        click.echo(redacted_text(f"spar: {error}"), err=True)
        return EXIT_FAILED
    except (KeyboardInterrupt, click.Abort):
        click.echo("spar: interrupted; run the same command again to resume", err=True)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return EXIT_FAILED
    return int(result) if isinstance(result, int) else 0
