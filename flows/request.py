"""What a flow is asked to do: small, JSON-like, the same from the command line, a deployment or a schedule."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from spar_core.config.loading import load_config
from spar_core.config.run import RunConfig
from spar_core.errors import ConfigError, StorageError
from storage.home import Home, safe_name


class RunRequest(BaseModel):
    """A run by its configuration. The same request names the same run, so asking again resumes it."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    preset: str | None = None
    """A shipped preset (`spar run --help` lists them); `starter` when no file is given either."""
    config_file: str | None = None
    """A YAML file in the shape of the run configuration."""
    overrides: list[str] = Field(default_factory=list)
    """`key.path=value` strings, as with `--set`."""
    iterations: Annotated[int, Field(ge=0)] | None = None
    """Number of iterations, shorthand for an override."""
    home: str | None = None
    """Home folder; null: $SPAR_HOME, else `.spar` in the working directory."""
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
            return Run(home, safe_name(self.run_id or config.default_run_id(), "run id"), config)
        except StorageError as error:
            raise ConfigError(str(error)) from error

    def pinned(self) -> "RunRequest":
        """The same request with home and run id spelled out."""
        run = self.resolve()
        return self.model_copy(update={"home": str(run.home.root), "run_id": run.run_id})


class Run:
    """A resolved request."""

    def __init__(self, home: Home, run_id: str, config: RunConfig) -> None:
        self.home = home
        self.run_id = run_id
        self.config = config
