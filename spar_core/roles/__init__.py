"""The two roles a model plays: the actor answers, the refiner judges and rewrites."""

from spar_core.roles.actor import Actor, ActorOutcome
from spar_core.roles.batches import Answered, Judged, Subject, judge_all, respond_all
from spar_core.roles.refiner import JudgementOutcome, Refiner, Rewrite
from spar_core.roles.rewrite import format_rewrite, parse_rewrite
from spar_core.roles.verdict import parse_verdict

__all__ = [
    "Actor",
    "ActorOutcome",
    "Answered",
    "Judged",
    "JudgementOutcome",
    "Refiner",
    "Rewrite",
    "Subject",
    "format_rewrite",
    "judge_all",
    "parse_rewrite",
    "parse_verdict",
    "respond_all",
]
