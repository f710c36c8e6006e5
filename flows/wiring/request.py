"""What a flow is asked to do: small, JSON-like, the same from the command line, a deployment or a schedule."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

from spar_core.config.loading import check_override, load_config
from spar_core.config.run import RunConfig
from spar_core.engines.model_reference import check_reference
from spar_core.errors import ConfigError, StorageError
from storage.home import Home, safe_name

# What a Prefect server can tell of a secret before it stores a parameter; `check_override` sees the rest.
_NO_SECRETS = (
    "^(?!.*([Kk][Ee][Yy][Ss]?|[Tt][Oo][Kk][Ee][Nn]|[Ss][Ee][Cc][Rr][Ee][Tt][Ss]?|[Pp][Aa][Ss][Ss][Ww](or)?(OR)?[Dd]"
    "|[Cc][Rr][Ee][Dd][Ee][Nn][Tt][Ii][Aa][Ll][Ss]?)[0-9_]*[\"']?\\s*[=:]\\s*[\"']?[^\\s\"'${])"
    "(?!.*(sk-|hf_|gh[pousr]_|Bearer |://[^/\\s@]*@))"
)
Override = Annotated[str, AfterValidator(check_override), WithJsonSchema({"type": "string", "pattern": _NO_SECRETS})]
"""One `key.path=value`, without secrets: parameters of flows are stored, and everybody with the UI can read them."""
Reference = Annotated[str, AfterValidator(check_reference)]
"""A model reference (see `spar_core.engines.model_reference`), without secrets."""


class RunRequest(BaseModel):
    """A run by its configuration. The same request names the same run, so asking again resumes it."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True)

    preset: str | None = None
    """A shipped preset (`spar run --help` lists them); `starter` when no file is given either."""
    config_file: str | None = None
    """A YAML file in the shape of the run configuration."""
    overrides: list[Override] = Field(default_factory=list)
    """`key.path=value` strings, as with `--set`; secrets by the names of environment variables."""
    iterations: Annotated[int, Field(ge=0)] | None = None
    """Number of iterations, shorthand for an override."""
    home: str | None = None
    """Home folder, or `s3://bucket/prefix`; null: $SPAR_HOME, else `.spar` in the working directory."""
    run_id: str | None = None
    """Name of the run; null: preset and a digest of the configuration."""

    def resolve(self) -> "Run":
        """Load and validate the configuration.

        Raises:
            ConfigError: naming key, value and what is allowed; or the run id cannot name a folder.
        """
        file = Path(self.config_file) if self.config_file else None
        config = load_config(self.preset, file, self.overrides, self.iterations)
        home = Home(self.home) if self.home else Home.default()
        try:
            _check_nodes(config, home)
            return Run(home, safe_name(self.run_id or config.default_run_id(), "run id"), config)
        except StorageError as error:
            raise ConfigError(str(error)) from error

    def pinned(self) -> "RunRequest":
        """The same request with home and run id spelled out."""
        run = self.resolve()
        return self.model_copy(update={"home": run.home.address, "run_id": run.run_id})


def _check_nodes(config: RunConfig, home: Home) -> None:
    if config.training.launch.nodes > 1 and home.remote is not None:
        raise ConfigError(
            f"training.launch.nodes is {config.training.launch.nodes}: these machines meet in a folder that all "
            f"of them see, which {home.address} is not; give --home a shared folder, or train on one machine"
        )


class Run:
    """A resolved request."""

    def __init__(self, home: Home, run_id: str, config: RunConfig) -> None:
        self.home = home
        self.run_id = run_id
        self.config = config
