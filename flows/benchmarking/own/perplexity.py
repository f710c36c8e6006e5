"""Perplexity on plain text: what training on something else must not harm, measured without any data set."""

from pathlib import Path
from typing import Any, ClassVar

from flows.benchmarking.session import BenchmarkSession, StageBenchmark
from flows.wiring.stage_calls import file_ref
from spar_core.engines.model_reference import is_server
from spar_core.errors import ConfigError
from spar_core.evaluation.passages import shipped_text
from spar_core.hashing import digest
from storage.artifacts import ArtifactRef
from tasks.perplexity import BITS_PER_BYTE, PER_TOKEN, PERPLEXITY


class Perplexity(StageBenchmark):
    """How many bits a model needs for each byte of a text; less is better."""

    name = "perplexity"
    summary = "bits per byte and perplexity of plain text: Python's own manual, or `--prompts FILE.txt`; less is better"
    in_all: ClassVar[bool] = False
    takes_prompts: ClassVar[bool] = True
    headlines = (BITS_PER_BYTE, PER_TOKEN)

    def stages(self, session: BenchmarkSession) -> list[ArtifactRef]:
        """One stage.

        Raises:
            ConfigError: a server is to be measured, or the file of the text is not there.
        """
        request, served = session.request, session.model.served
        if is_server(request.model):
            raise ConfigError(
                "perplexity needs log-probabilities of a text, which a chat server does not give; "
                "measure the model's folder"
            )
        if request.prompts is not None and not Path(request.prompts).is_file():
            raise ConfigError(f"--prompts {request.prompts}: there is no such text file")
        reads: dict[str, Any] = {"limit": request.limit, "role": session.role(self)}
        if request.prompts is None:
            reads["text"] = digest(shipped_text())  # another Python's manual is another text
        files = {} if request.prompts is None else {"text": file_ref(request.prompts)}
        return [session.run(PERPLEXITY, models={"model": served.model}, config=reads, files=files)]


BENCHMARK = Perplexity()
