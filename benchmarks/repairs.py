"""How often a repair succeeds over answers of real models, per constraint kind, and how much it changes.

    python benchmarks/repairs.py --prompts input_data.jsonl --answers responses.jsonl [--drawn 4] [--show KIND] [--json]

Two measurements on the same answers. Own: every instruction that an answer fails is repaired alone, and all of the
prompt's together. Drawn: every kind that prompt synthesis can draw is asked of every answer `--drawn` times with other
arguments, so that kinds which the model rarely fails are measured as well. "kept" is the share of the answer's
characters that stay (twice the matching ones over both lengths, by difflib on words).
"""

import argparse
import difflib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from random import Random
from statistics import median
from typing import NamedTuple

from spar_core.constraints import SamplingContext, check, samplable
from spar_core.constraints.repairs import finding, repair, repair_all
from spar_core.evaluation.ifeval_rows import PromptSet, read_answers, read_prompts
from spar_core.records import Constraint

EVERYTHING = "all of a prompt's together"


class Trial(NamedTuple):
    """One failing answer, what became of it, and how many of its other met instructions the repair broke."""

    kind: str
    before: str
    after: str | None
    found: str | None
    others: int = 0
    broken: int = 0


def kept(before: str, after: str) -> float:
    return difflib.SequenceMatcher(None, before.split(), after.split(), autojunk=False).ratio()


def own_trials(prompts: PromptSet, answers: list[tuple[int, str]], rng: Random) -> Iterator[Trial]:
    for position, text in answers:
        constraints = prompts.prompts[position].instructions
        met = [c for c in constraints if check(c, text)]
        failing = [c for c in constraints if c not in met]
        for constraint in failing:
            after = repair(constraint, text, rng)
            broken = sum(not check(c, after) for c in met) if after else 0
            yield Trial(constraint.kind, text, after, finding(constraint, text), len(met), broken)
        if failing:
            yield Trial(EVERYTHING, text, repair_all(constraints, text, rng), None)


def drawn_trials(answers: list[tuple[int, str]], times: int, rng: Random) -> Iterator[Trial]:
    for kind in samplable():
        for _, text in answers:
            for _ in range(times):
                arguments = kind.sample(rng, SamplingContext(instruction="Answer the request above."))
                constraint = Constraint.create(kind.id, **arguments)
                if not check(constraint, text):
                    yield Trial(kind.id, text, repair(constraint, text, rng), finding(constraint, text))


def table(trials: list[Trial]) -> str:
    rows = defaultdict(list)
    for trial in trials:
        rows[trial.kind].append(trial)
    lines = ["| kind | failing | repaired | kept, median | met others broken |", "| --- | ---: | ---: | ---: | ---: |"]
    for kind in sorted(rows, key=lambda kind: (kind == EVERYTHING, kind)):
        of_kind = rows[kind]
        done = [t for t in of_kind if t.after is not None]
        share = f"{100 * len(done) / len(of_kind):.0f} %"
        stays = f"{100 * median(kept(t.before, t.after or '') for t in done):.0f} %" if done else ""
        others = sum(t.others for t in done)
        broken = f"{sum(t.broken for t in done)} of {others}" if others else ""
        lines.append(f"| {kind} | {len(of_kind)} | {share} | {stays} | {broken} |")
    return "\n".join(lines)


def show(trials: list[Trial], kind: str, count: int = 6) -> None:
    for trial in [t for t in trials if t.kind == kind][:count]:
        print(f"\n--- {trial.found}")
        if trial.after is None:
            print("(no repair)", trial.before[:300])
            continue
        for line in difflib.unified_diff(trial.before.split("\n"), trial.after.split("\n"), lineterm="", n=0):
            print(line[:400])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--prompts", type=Path, required=True, help="IFEval rows: key, prompt, instruction_id_list, kwargs"
    )
    parser.add_argument("--answers", type=Path, required=True, help="rows with prompt or key and response")
    parser.add_argument("--drawn", type=int, default=1, help="arguments drawn per kind and answer")
    parser.add_argument("--limit", type=int, default=None, help="this many answers only")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", metavar="KIND", help="print some repairs of one kind")
    arguments = parser.parse_args()
    prompts = read_prompts(arguments.prompts)
    rows = read_answers(arguments.answers, prompts)
    answers = [(a.positions[0], a.response) for a in rows if a.response and a.response.strip()][: arguments.limit]
    own = list(own_trials(prompts, answers, Random(arguments.seed)))
    drawn = list(drawn_trials(answers, arguments.drawn, Random(arguments.seed)))
    if arguments.show:
        show([*own, *drawn], arguments.show)
        return
    print(f"{len(answers)} answers\n\nInstructions of their own prompts:\n\n{table(own)}")
    print(f"\nKinds drawn at random:\n\n{table(drawn)}")


if __name__ == "__main__":
    main()
