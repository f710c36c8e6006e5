"""IFBench: IFEval's rows with 58 kinds of its own. A prompt without an answer fails, as in the reference."""

from spar_core.benchmarks.ifeval import InstructionBenchmark
from spar_core.evaluation import ifbench
from spar_core.evaluation.data_sources import Source
from spar_core.evaluation.hub import HubFile

BENCHMARK = InstructionBenchmark(
    "ifbench",
    "rules (58 kinds; extra `bench`): the same scores; the published figure is `prompt_loose`",
    Source(ifbench.LICENCE, (ifbench.DATA_FILE,), (HubFile(ifbench.DATA_FILE.as_posix(), "allenai/IFBench_test"),)),
    sha256=ifbench.DATA_SHA256,
    content="4cb784b121412af366ef927514f1bbbf",
    missing=ifbench.MISSING,
)
