"""How fast IFEval answers are scored: checks per second on one core, kinds by cost, the detector's share, all cores.

    python benchmarks/scoring.py --data-dir DIR [--copies 40] [--json]

A check is one instruction on one answer, strict and loose together. One core is measured in CPU seconds, libraries
and trained data loaded, every text and word met for the first time; then again, with the texts' results forgotten but
their words known to the detector, as in the middle of a big file.
The reference's 1,244 checks per second were measured on the same class of machine.
"""

import argparse
import json
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from spar_core.constraints import bound_kind, language
from spar_core.evaluation import ifeval
from spar_core.evaluation.ifeval_rows import Answer, BenchmarkPrompt, PromptSet, read_answers
from spar_core.evaluation.ifeval_verdicts import judge

REFERENCE_CHECKS_PER_SECOND = 1244.0
_WARM_UP = "This is a First sentence, to LOAD what checks need. Another one follows here."


class DetectorClock:
    """Stands in for the language detector and adds up its CPU time and calls."""

    def __init__(self) -> None:
        self._detect = language.detect
        self.seconds = 0.0
        self.calls = 0

    def __call__(self, text: str) -> str | None:
        started = time.process_time()
        found = self._detect(text)
        self.seconds += time.process_time() - started
        self.calls += 1
        return found


def load_everything(prompts: PromptSet) -> None:
    for prompt in prompts.prompts:
        judge(prompt.instructions, _WARM_UP)


def forget() -> None:
    language._remembered.cache_clear()


def pairs(prompts: PromptSet, answers: list[Answer]) -> Iterator[tuple[BenchmarkPrompt, str]]:
    for answer in answers:
        for position in answer.positions:
            yield prompts.prompts[position], answer.response or ""


def one_core(prompts: PromptSet, answers: list[Answer], repeats: int) -> dict[str, float]:
    checks = sum(len(prompt.instructions) for prompt, _ in pairs(prompts, answers))
    times = []
    for _ in range(repeats + 1):
        forget()
        started = time.process_time()
        for prompt, text in pairs(prompts, answers):
            judge(prompt.instructions, text)
        times.append(time.process_time() - started)
    seconds, again = times[0], sorted(times[1:])[repeats // 2]
    return {
        "answers": len(answers),
        "checks": checks,
        "seconds": seconds,
        "checks_per_second": checks / seconds,
        "ratio_to_reference": checks / seconds / REFERENCE_CHECKS_PER_SECOND,
        "checks_per_second_words_known": checks / again,
    }


def detector_share(prompts: PromptSet, answers: list[Answer]) -> dict[str, float]:
    forget()
    clock = DetectorClock()
    original, language.detect = language.detect, clock
    try:
        started = time.process_time()
        for prompt, text in pairs(prompts, answers):
            judge(prompt.instructions, text)
        seconds = time.process_time() - started
    finally:
        language.detect = original
    return {"calls": clock.calls, "seconds": clock.seconds, "share": clock.seconds / seconds}


def kinds_by_cost(prompts: PromptSet, answers: list[Answer]) -> list[dict[str, float | str]]:
    """Microseconds per check of every kind, each judged alone and without cached results."""
    seconds: dict[str, float] = defaultdict(float)
    counts: dict[str, int] = defaultdict(int)
    for prompt, text in pairs(prompts, answers):
        for instruction in prompt.instructions:
            bound_kind(instruction)
            forget()
            started = time.process_time()
            judge((instruction,), text)
            seconds[instruction.kind] += time.process_time() - started
            counts[instruction.kind] += 1
    total = sum(seconds.values())
    rows = [
        {
            "kind": kind,
            "checks": counts[kind],
            "us_per_check": 1e6 * seconds[kind] / counts[kind],
            "share": spent / total,
        }
        for kind, spent in seconds.items()
    ]
    return sorted(rows, key=lambda row: -float(row["us_per_check"]))


def all_cores(prompts_file: Path, answers_file: Path, copies: int) -> dict[str, float]:
    """A file of `copies` times the answers, each slightly different: one process against all cores, wall seconds."""
    with tempfile.TemporaryDirectory() as scratch:
        big_prompts, big_answers = Path(scratch, "prompts.jsonl"), Path(scratch, "answers.jsonl")
        rows = [json.loads(line) for line in prompts_file.read_text(encoding="utf-8").splitlines()]
        texts = [json.loads(line) for line in answers_file.read_text(encoding="utf-8").splitlines()]
        with big_prompts.open("w", encoding="utf-8") as prompts, big_answers.open("w", encoding="utf-8") as answers:
            for copy in range(copies):
                for row, text in zip(rows, texts, strict=True):
                    key = f"{row['key']}-{copy}"
                    prompts.write(json.dumps({**row, "key": key}) + "\n")
                    answers.write(json.dumps({"key": key, "response": f"{text['response']}\nNumber {copy}"}) + "\n")
        prompt_set = ifeval.read_prompts(big_prompts)
        times = {}
        for workers in (1, os.cpu_count() or 1):
            forget()
            started = time.perf_counter()
            ifeval.score_file(prompt_set, big_answers, workers=workers)
            times[workers] = time.perf_counter() - started
        size = big_answers.stat().st_size
    one, every = times[1], times[max(times)]
    checks = copies * sum(len(row["instruction_id_list"]) for row in rows)
    return {
        "mebibytes": size / 2**20,
        "checks": checks,
        "cores": max(times),
        "one_process_s": one,
        "all_cores_s": every,
        "speed_up": one / every,
        "checks_per_second_all_cores": checks / every,
    }


def report(found: dict[str, object]) -> None:
    core, detector, cores = found["one_core"], found["detector"], found["all_cores"]
    assert isinstance(core, dict)
    assert isinstance(detector, dict)
    assert isinstance(cores, dict)
    print(f"{core['checks']:.0f} checks on {core['answers']:.0f} answers in {core['seconds']:.3f} CPU s, one core:")
    print(f"  {core['checks_per_second']:,.0f} checks/s, {core['ratio_to_reference']:.1f}x the reference's 1,244")
    print(f"  {2 * core['checks_per_second']:,.0f} verdicts/s where strict and loose count apart")
    print(f"  {core['checks_per_second_words_known']:,.0f} checks/s once the detector knows the words")
    print(f"language detector: {detector['calls']:.0f} calls, {100 * detector['share']:.0f} % of the time")
    print(
        f"{cores['mebibytes']:.0f} MiB: {cores['one_process_s']:.1f} s in one process, {cores['all_cores_s']:.1f} s on "
        f"{cores['cores']:.0f} cores ({cores['speed_up']:.2f}x, {cores['checks_per_second_all_cores']:,.0f} checks/s)"
    )
    print(f"{'kind':<45} {'checks':>6} {'us/check':>9} {'share':>6}")
    for row in found["kinds"]:  # type: ignore[attr-defined]
        print(f"{row['kind']:<45} {row['checks']:>6} {row['us_per_check']:>9.0f} {100 * row['share']:>5.1f}%")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("SPAR_DATA_DIR"), help="has ifeval/")
    parser.add_argument("--copies", type=int, default=40, help="size of the big file, in 0.8 MiB")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.data_dir is None:
        parser.error("give --data-dir, or set SPAR_DATA_DIR")
    os.environ["SPAR_DATA_DIR"] = str(Path(arguments.data_dir).absolute())
    prompts_file = Path(arguments.data_dir, ifeval.DATA_FILE)
    answers_file = prompts_file.with_name("responses_gpt4.jsonl")
    prompts = ifeval.read_prompts(prompts_file)
    answers = list(read_answers(answers_file, prompts))
    load_everything(prompts)
    found = {
        "one_core": one_core(prompts, answers, arguments.repeats),
        "detector": detector_share(prompts, answers),
        "kinds": kinds_by_cost(prompts, answers),
        "all_cores": all_cores(prompts_file, answers_file, arguments.copies),
    }
    if arguments.json:
        print(json.dumps(found))
    else:
        report(found)


if __name__ == "__main__":
    main()
