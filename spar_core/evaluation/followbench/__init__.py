"""FollowBench: multi-level constraints, English and Chinese, scored by rule where possible and by a judge elsewhere.

One function per use: `judge_answers` (answers and a judge), `score_answers` (answers and judge texts in memory),
`score_file` (a file of rows).
"""

from spar_core.evaluation.followbench.dataset import FollowBench, FollowBenchItem, ItemKey, load_followbench
from spar_core.evaluation.followbench.files import FollowBenchFileReport, score_file
from spar_core.evaluation.followbench.judging import judge_messages, parse_judge
from spar_core.evaluation.followbench.rules import check_rule
from spar_core.evaluation.followbench.runner import eval_items, judge_answers
from spar_core.evaluation.followbench.scoring import FollowBenchReport, Outcome, score_answers

__all__ = [
    "FollowBench",
    "FollowBenchFileReport",
    "FollowBenchItem",
    "FollowBenchReport",
    "ItemKey",
    "Outcome",
    "check_rule",
    "eval_items",
    "judge_answers",
    "judge_messages",
    "load_followbench",
    "parse_judge",
    "score_answers",
    "score_file",
]
