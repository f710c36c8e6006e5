"""A run's prompts in MLflow's prompt registry: one prompt per template of a set, a version per wording it ever had."""

import re
from collections.abc import Mapping
from pathlib import PurePath

from storage.home import Home
from storage.mlflow_store import connect, mlflow_errors, point_mlflow_at, registered_name

_NOT_IN_NAMES = re.compile(r"[^\w.-]")


def log_prompts(home: Home, prompt_set: str, texts: Mapping[str, str], mlflow_run: str) -> dict[str, int]:
    """Keep the templates of a prompt set and say that an MLflow run used them; returns the version of each.

    A text that is there already, whichever version, is not kept twice. A set that is a folder goes by its name.

    Raises:
        StorageError: the database fails.
    """
    client = connect(home)
    # The store looks the run up through MLflow's process-wide address, not through its own.
    point_mlflow_at(home)
    used: dict[str, int] = {}
    with mlflow_errors(home):
        for template, text in texts.items():
            name = registered_name(home, _NOT_IN_NAMES.sub("-", f"{PurePath(prompt_set).name}.{template}"))
            known = client.search_prompt_versions(name) if client.get_prompt(name) is not None else []
            version = next((entry for entry in known if entry.template == text), None)
            if version is None:
                version = client.register_prompt(name, text, commit_message=f"as {prompt_set} has it")
            client.link_prompt_version_to_run(mlflow_run, version)
            used[template] = int(version.version)
    return used
