"""The training subprocess: `python -m spar_core.training.worker SPEC.json`.

Nothing heavy is imported before the watch on the launching process runs.
"""

import os
import sys
from pathlib import Path

from spar_core.errors import TrainingError
from spar_core.secrets import redacted_text
from spar_core.training.parentage import end_with_parent
from spar_core.training.specification import TrainingSpec
from spar_core.training.workspace import Workspace

_FAILED = 1


def main(arguments: list[str]) -> int:
    """Run the training of the spec file; expected failures are left as a message for the launcher."""
    end_with_parent()
    spec = TrainingSpec.model_validate_json(Path(arguments[0]).read_text(encoding="utf-8"))
    try:
        from spar_core.training.session import run_session

        run_session(spec, identity=arguments[1], processes=int(os.environ.get("WORLD_SIZE", "1")))
    except TrainingError as error:
        # Whichever process comes first: its launcher ends the others at once.
        Workspace(spec.work).record_failure(redacted_text(str(error)))
        return _FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
