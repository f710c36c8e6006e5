"""Options of `spar eval`, and what they read of files."""

from pathlib import Path
from typing import Any

import click

from flows.commands.options import model_option
from spar_core.engines.chat_format import is_template_text

FILE = click.Path(path_type=Path, dir_okay=False)


def file_options(command: Any) -> Any:
    """Files that are read and written."""
    for option in (
        click.option("--report", type=FILE, help="One self-contained page: scores, settings, every item (HTML)."),
        click.option("--items", type=FILE, help="Where each item goes, with its verdicts (JSON lines)."),
        click.option("--judgements", type=FILE, help="Judge texts or comparisons made elsewhere."),
        click.option("--responses", type=FILE, help="Answers made elsewhere: JSON lines, plain or gzip."),
    ):
        command = option(command)
    return command


def model_options(command: Any) -> Any:
    """Which models, and how they are asked."""
    for option in (
        click.option("--unsafe-code", is_flag=True, help="`ability`: run HumanEval, which executes generated code."),
        click.option(
            "--chat-template",
            metavar="FILE|NAME",
            help="Another chat template for the model under test: a file, or a name its tokenizer knows.",
        ),
        click.option("--system", default="", metavar="TEXT|@FILE", help="System text ahead of every prompt."),
        click.option("--seed", type=click.IntRange(0), help="Of the answers.  [default: the configuration's]"),
        click.option(
            "--pass-k", type=click.IntRange(1), multiple=True, help="k of pass^k.  [default: 2, 4, 8 ... all]"
        ),
        click.option("--samples", type=click.IntRange(1, 64), help="Answers per item, for pass^k.  [default: 1]"),
        click.option("--top-p", type=click.FloatRange(0, 1, min_open=True), help="Nucleus mass.  [default: 1]"),
        click.option("--temperature", type=click.FloatRange(0, 2), help="Of the answers.  [default: 0, greedy]"),
        click.option("--max-tokens", type=click.IntRange(1), default=2048, show_default=True, help="Per answer."),
        click.option("--strategy", "strategies", multiple=True, help="`llmbar`.  [default: Votes and ours-Vanilla]"),
        click.option(
            "--judge-prompts",
            type=click.Path(path_type=Path, file_okay=False, exists=True),
            help="`llmbar`, `followbench`: folder of the published prompts.  [default: this project's wording]",
        ),
        click.option(
            "--language",
            "languages",
            multiple=True,
            type=click.Choice(["en", "es", "fr", "hi", "it", "ja", "pt", "ru", "zh"]),
            help="`followbench` (en, zh), `m_ifeval` (es, fr, ja), `multi_if` (all but ja).  [default: all]",
        ),
        click.option("--limit", type=click.IntRange(1), help="Evenly chosen items, for a first look."),
        click.option("--role", type=click.Choice(["actor", "refiner"]), help="Role the scores are filed under."),
        model_option("--judge", "Who judges FollowBench: a model as for --model; with a file, just a name."),
        model_option("--refiner", "Who compares (llmbar) or mends (refinement).  [default: the model]"),
        model_option("--model", "starter, a folder, actor@champion, a hub id, or http://host:port/v1#name&key=VAR."),
    ):
        command = option(command)
    return command


def system_text(given: str) -> str:
    """A system text, of a file where it is given as `@FILE`."""
    return _read(given[1:], "--system") if given.startswith("@") else given


def _read(file: str, option: str) -> str:
    try:
        return Path(file).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{option}: cannot read {file}: {error}") from error


def template_text(given: str | None) -> str | None:
    """A chat template's text, or the name of one where there is no such file."""
    if given is None:
        return None
    path = Path(given).expanduser()
    if not path.is_file():
        if path.suffix or path.parent != Path():
            raise click.UsageError(f"--chat-template: there is no file {given}")
        return given
    text = _read(given, "--chat-template")
    if not is_template_text(text):
        raise click.UsageError(f"--chat-template: {given} is no chat template: it fills nothing in ({{{{ ... }}}})")
    return text


def check_places(*files: Path | None) -> None:
    """See that files can be written where they are asked for, before anything is measured."""
    for file in files:
        if file is not None and not file.absolute().parent.is_dir():
            raise click.UsageError(
                f"there is no folder {file.absolute().parent} to write {file.name} to; make it first"
            )
