"""IFBench: IFEval's rows with 58 kinds of its own.

Its published figure is `prompt_loose`. A prompt without an answer fails everything, as in the reference, whether the
answers come from a file or from a model that refused it; the report shows the share of such prompts (`unanswered`).
"""

from pathlib import Path

from spar_core.benchmarks.ifeval import InstructionBenchmark
from spar_core.evaluation.data_sources import Source
from spar_core.evaluation.hub import HubFile

_FILE = "ifbench/IFBench_test.jsonl"

BENCHMARK = InstructionBenchmark(
    "ifbench",
    "rules (58 kinds; extra `bench`): the same scores; the published figure is `prompt_loose`",
    Source(
        "IFBench data: ODC-BY 1.0, Allen Institute for AI (allenai/IFBench)",
        (Path(_FILE),),
        (HubFile(_FILE, "allenai/IFBench_test"),),
    ),
    sha256="a2bf7b8e7ed11d39c65b4ec781da8b99663ed0121f97033d70fcecb61f8a9d85",
    content="4cb784b121412af366ef927514f1bbbf",
    missing="failed",
)
