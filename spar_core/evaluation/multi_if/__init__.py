"""Multi-IF: chats of up to three turns in eight languages, every turn judged by IFEval's rules."""

from spar_core.evaluation.multi_if.answers import read_turn_answers
from spar_core.evaluation.multi_if.dataset import LANGUAGES, LICENCE, Chats, chat_of, read_chats
from spar_core.evaluation.multi_if.scoring import eval_items, turn_scores

__all__ = [
    "LANGUAGES",
    "LICENCE",
    "Chats",
    "chat_of",
    "eval_items",
    "read_chats",
    "read_turn_answers",
    "turn_scores",
]
