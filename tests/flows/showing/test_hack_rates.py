"""The hack rate of a run: among held-out answers that meet every rule, those that trip a wire."""

from flows.showing import hacking
from flows.showing.hacking import hack_rates


class Catalogue:
    """Two iterations: one right answer and one echo of the prompt, then none that is right."""

    def __enter__(self) -> "Catalogue":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def rows(self, query: str, values: list[object]) -> list[dict[str, object]]:
        text = "Describe a garden in spring without commas."
        if "eval_prompts" in query:
            rule = {"kind": "punctuation:no_comma", "kwargs": "{}"}
            return [{"prompt_id": "p", "text": text, "constraints": [rule], "source": "user"}]
        said = [(1, "Roses bloom early."), (1, text), (1, "No, never, ever."), (2, "No, no.")]
        return [
            {"iteration": number, "response_id": str(place), "prompt_id": "p", "text": answer}
            for place, (number, answer) in enumerate(said)
        ]


def test_only_answers_that_meet_the_rules_count(monkeypatch):
    monkeypatch.setattr(hacking, "open_catalog", lambda home: Catalogue())
    first, second = hack_rates(None, "run")
    assert (first.iteration, first.share.value, first.share.n) == (1, 0.5, 2)
    assert (second.iteration, second.share) == (2, None)
    assert "no held-out answer" in second.shown()
    assert second.plain() == {"iteration": 2, "hack_rate": None}
