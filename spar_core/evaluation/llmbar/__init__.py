"""LLMBar: which of two outputs follows an instruction better, asked in both orders.

One function per use: `run_llmbar` (any engine as evaluator), `run_by_value` (an evaluator that values one output at a
time, such as the refiner's votes), `score_file` (a file of judgements).
"""

from spar_core.evaluation.llmbar.dataset import SUBSETS, Instance, LLMBar, load_llmbar
from spar_core.evaluation.llmbar.files import LLMBarFileReport, score_file
from spar_core.evaluation.llmbar.reading import Pair, read_comparison, read_ratings
from spar_core.evaluation.llmbar.runner import LLMBarRun, eval_items, run_by_value, run_llmbar
from spar_core.evaluation.llmbar.scoring import LLMBarReport, SubsetStatistics
from spar_core.evaluation.llmbar.strategies import STRATEGIES, Strategy

__all__ = [
    "STRATEGIES",
    "SUBSETS",
    "Instance",
    "LLMBar",
    "LLMBarFileReport",
    "LLMBarReport",
    "LLMBarRun",
    "Pair",
    "Strategy",
    "SubsetStatistics",
    "eval_items",
    "load_llmbar",
    "read_comparison",
    "read_ratings",
    "run_by_value",
    "run_llmbar",
    "score_file",
]
