"""IFBench: the same rows, verdicts and reports as IFEval, with 58 kinds of its own.

Its reported number is `prompt_loose`. A prompt without a response fails everything, as in the reference, whether the
answers come from a file or from a model that refused it; the report shows the share of such prompts (`unanswered`).
"""

from pathlib import Path

from spar_core.evaluation.ifeval import InstructionReport, Missing, score_file
from spar_core.evaluation.ifeval_rows import PromptSet
from spar_core.evaluation.ifeval_rows import read_prompts as read_instruction_prompts

NAME = "ifbench"
HEADLINE = "prompt_loose"
MISSING: Missing = "failed"
LICENCE = "IFBench data: ODC-BY 1.0, Allen Institute for AI (allenai/IFBench)"
DATA_FILE = Path("ifbench", "IFBench_test.jsonl")
DATA_SHA256 = "a2bf7b8e7ed11d39c65b4ec781da8b99663ed0121f97033d70fcecb61f8a9d85"


def read_prompts(path: Path, *, skip_bad: bool = False) -> PromptSet:
    """Read the benchmark's prompt file.

    Raises:
        DataError: naming file and line, see `ifeval_rows.read_prompts`.
    """
    return read_instruction_prompts(path, NAME, skip_bad=skip_bad)


def score_responses(
    prompts: PromptSet, responses: Path, workers: int | None = None, *, skip_bad: bool = False
) -> InstructionReport:
    """Score a file of answers; rows match by key, or by the prompt without white space at its ends.

    Raises:
        DataError: naming file and line, see `ifeval.score_file`; a package or NLTK resource is missing.
    """
    return score_file(prompts, responses, MISSING, workers, skip_bad=skip_bad)
