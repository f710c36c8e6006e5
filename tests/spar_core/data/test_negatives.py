from dataclasses import replace

from finished_records import judgement, prompt, response

from spar_core.data import choose_negatives
from spar_core.data.negatives import PassBand
from spar_core.search import Root

PROMPTS = [prompt("p1"), prompt("p2"), prompt("p3"), prompt("p4")]
RESPONSES = [
    response("a", "p1"),
    response("b", "p1"),
    response("c", "p1"),
    response("d", "p2"),
    response("e", "p3"),
    response("f", "p4"),
    response("g", "p4"),
]
# p1 fails with b and c, p2 passes, e has no judgement, p4 fails with f
JUDGEMENTS = [
    judgement("a", 4, 1),
    judgement("b", 2, 3),
    judgement("c", 0, 5),
    judgement("d", 5, 0),
    judgement("f", 1, 4),
]


def test_one_failing_response_per_prompt_with_its_critique() -> None:
    roots, drops = choose_negatives(PROMPTS, RESPONSES, JUDGEMENTS, run_seed=0)
    assert [root.prompt_id for root in roots] == ["p1", "p4"]
    assert roots[1] == Root("p4", "task p4", "f", "text f", "critique f NO", 0.2, 1, 4)
    assert [(drop.record_id, drop.reason) for drop in drops] == [("p2", "no_failing_response"), ("p3", "not_judged")]
    assert len(roots) + len(drops) == len(PROMPTS)


def test_the_choice_is_seeded_and_independent_of_order() -> None:
    def chosen(seed: int, backwards: bool = False) -> str:
        step = -1 if backwards else 1
        roots = choose_negatives(PROMPTS, RESPONSES[::step], JUDGEMENTS[::step], run_seed=seed).roots
        return roots[0].response_id

    picks = [chosen(seed) for seed in range(40)]
    assert picks == [chosen(seed, backwards=True) for seed in range(40)]
    assert 8 <= picks.count("b") <= 32  # two candidates, expected 20
    assert set(picks) == {"b", "c"}


def test_a_band_of_pass_rates_decides_which_prompts_make_trees() -> None:
    # p1 passes with one of three, p4 with none; p2 passes always
    roots, drops = choose_negatives(PROMPTS, RESPONSES, JUDGEMENTS, run_seed=0, band=PassBand(0.0, 0.6))
    assert [root.prompt_id for root in roots] == ["p1"]
    assert [(drop.record_id, drop.reason) for drop in drops] == [
        ("p2", "no_failing_response"),
        ("p3", "not_judged"),
        ("p4", "too_hard"),
    ]
    easy = choose_negatives(PROMPTS, RESPONSES, JUDGEMENTS, run_seed=0, band=PassBand(None, 0.3))
    assert [root.prompt_id for root in easy.roots] == ["p4"]
    assert easy.drops[0].reason == "too_easy"


def test_a_cut_answer_is_chosen_only_where_all_failing_ones_were_cut() -> None:
    cut = {"b", "f"}
    responses = [replace(one, finish_reason="length") if one.response_id in cut else one for one in RESPONSES]

    def chosen(whole_first: bool) -> set[tuple[str, ...]]:
        found = (
            choose_negatives(PROMPTS, responses, JUDGEMENTS, run_seed=seed, whole_first=whole_first)
            for seed in range(20)
        )
        return {tuple(root.response_id for root in one.roots) for one in found}

    assert chosen(whole_first=False) == {("b", "f"), ("c", "f")}
    assert chosen(whole_first=True) == {("c", "f")}
