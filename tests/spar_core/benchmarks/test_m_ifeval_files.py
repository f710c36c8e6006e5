"""M-IFEval: a pass per language, and scoring files of answers, with every figure derived by hand."""

import json
from pathlib import Path

import pytest

from spar_core.benchmarks.m_ifeval import BENCHMARK
from spar_core.benchmarks.plugin import Asked, FileRequest, Options, Subject
from spar_core.constraints.multilingual import resources
from spar_core.errors import ConfigError, DataError
from spar_core.records import Response

TILDES = {"num_words": 1, "relation": "al menos"}
PROMPTS = {
    "fr": [
        ("Parle", ["fr:detectable_content:informal_address", "fr:punctuation:no_comma"], [{}, {}]),
        ("Compte", ["fr:detectable_content:no_digits"], [{}]),
    ],
    "es": [("Habla", ["es:special_character:tildes", "es:no:such"], [TILDES, {"relation": None}])],
    "ja": [("話して", ["ja:punctuation:no_comma"], [{}])],
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "m_ifeval"
    folder.mkdir(parents=True)
    for language, prompts in PROMPTS.items():
        rows = [
            {"key": key, "prompt": text, "instruction_id_list": kinds, "kwargs": given}
            for key, (text, kinds, given) in enumerate(prompts, 1)
        ]
        (folder / f"{language}_input_data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "data"


def scored(data: Path, *rows: object, **options: object):
    answers = data.parent / "answers.jsonl"
    answers.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = BENCHMARK.score_file(FileRequest(answers, data.parent / "items.jsonl", data_dir=data, **options))
    return found, {title: {score.metric: score for score in scores} for title, scores in found.sections}


def test_each_language_has_its_scores_by_key_and_by_prompt(data: Path) -> None:
    found, scores = scored(
        data,
        {"key": "fr/1", "response": "Tu vas, toi"},
        {"prompt": "Compte", "response": "un deux"},
        {"prompt": "Habla", "response": "Él habla", "finish_reason": "stop"},
    )
    assert list(scores) == ["m_ifeval-es", "m_ifeval-fr", "answers"]
    french = scores["m_ifeval-fr"]
    assert (french["prompt_strict"].value, french["prompt_strict"].n) == (0.5, 2)
    assert french["instruction_strict"].value == pytest.approx(2 / 3)
    assert french["instruction_strict/fr:punctuation:no_comma"].value == 0.0
    # One instruction is met, the other is none that is known: nothing is said of the whole answer.
    spanish = scores["m_ifeval-es"]
    assert (spanish["prompt_strict"].n, spanish["prompt_strict"].unscored) == (0, 1)
    assert spanish["instruction_strict"].value == 1.0
    assert spanish["instruction_strict/es:no:such"].unscored == 1
    assert scores["answers"]["truncated"].n == 1
    notes = "\n".join(found.notes)
    assert "ja: no prompt is answered" in notes
    assert "1 of 2 instructions have no verdict" in notes
    assert "unknown constraint kind 'es:no:such'" in notes
    items = {row["key"]: row for row in map(json.loads, (data.parent / "items.jsonl").read_text().splitlines())}
    assert set(items) == {"es/1", "fr/1", "fr/2"}
    assert items["fr/1"]["strict"] == [True, False]
    assert items["es/1"]["reasons"][1].startswith("unreadable_instruction")


def test_missing_answers_are_counted_within_a_language(data: Path) -> None:
    found, scores = scored(data, {"key": "fr/2", "response": "2"})
    assert (scores["m_ifeval-fr"]["unanswered"].value, scores["m_ifeval-fr"]["prompt_strict"].n) == (0.5, 1)
    assert "fr: 1 of 2 prompts have no answer" in "\n".join(found.notes)


def test_bad_answers_stop_it_or_are_left_out(data: Path) -> None:
    with pytest.raises(DataError, match="line 1: key '1' is not in the prompt file"):
        scored(data, {"key": "1", "response": "2"})
    found, _ = scored(data, {"key": "1", "response": "2"}, {"key": "ja/1", "response": "はい"}, skip_bad=True)
    assert [drop.reason for drop in found.left_out] == ["bad_row"]


def test_a_model_is_measured_one_language_at_a_time(data: Path) -> None:
    assert [part.place for part in BENCHMARK.parts(Options())] == ["m_ifeval-es", "m_ifeval-fr", "m_ifeval-ja"]
    (part,) = BENCHMARK.parts(Options(languages=("fr",)))
    loaded = BENCHMARK.load(data / "m_ifeval", part.data)
    assert [prompt.source for prompt in BENCHMARK.prompts(loaded.content)] == ["m_ifeval/fr/1", "m_ifeval/fr/2"]
    answer = Response("r", "p", 0, "Dis-toi", "stop", 1, 1, "d", 0)
    asked = [Asked("fr/1", answer, ""), Asked("fr/2", None, "prompt_too_long")]
    measured = BENCHMARK.measure(loaded.content, asked, Subject("actor", "d"))
    assert {item.benchmark for item in measured.items} == {"m_ifeval-fr"} == {BENCHMARK.filed_as(part.data)}
    details = {item.item_id: (item.value, item.detail) for item in measured.items if item.metric == "prompt_strict"}
    assert details == {"fr/1": (1.0, ""), "fr/2": (None, "prompt_too_long")}


def test_what_is_asked_for_and_missing_is_told(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="M-IFEval has no language 'en'; it has es, fr, ja"):
        BENCHMARK.parts(Options(languages=("en",)))
    (data / "m_ifeval" / "ja_input_data.jsonl").unlink()
    with pytest.raises(DataError, match=r"ja_input_data.jsonl is missing: give it, or leave 'ja' out with --language"):
        BENCHMARK.load(data / "m_ifeval", {"language": "ja"})
    assert "m_ifeval-fr" in scored(data, {"key": "fr/2", "response": "2"})[1]


def test_a_package_that_the_rules_need_is_asked_for_before_any_answer(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "find_spec", lambda package: None)
    with pytest.raises(DataError, match=r"need the package spacy: pip install 'spar\[multilingual\]'"):
        BENCHMARK.load(data / "m_ifeval", {"language": "es"})
    assert BENCHMARK.load(data / "m_ifeval", {"language": "fr"}).content.prompts  # no rule of it needs one


def test_a_rule_without_its_model_is_left_out_and_said(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {"key": 1, "prompt": "Habla", "instruction_id_list": ["es:length_constraints:number_sentences"]}
    rows["kwargs"] = [{"num_sentences": 1, "relation": "al menos"}]
    (data / "m_ifeval" / "es_input_data.jsonl").write_text(json.dumps(rows) + "\n")

    def absent(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr("spacy.load", absent)
    resources.trained_pipeline.cache_clear()
    found, scores = scored(data, {"key": "es/1", "response": "El niño juega en el jardín de la casa."})
    assert (scores["m_ifeval-es"]["prompt_strict"].n, scores["m_ifeval-es"]["prompt_strict"].unscored) == (0, 1)
    assert "python -m spacy download es_core_news_sm" in "\n".join(found.notes)
    (item,) = map(json.loads, (data.parent / "items.jsonl").read_text().splitlines())
    assert item["reasons"][0].startswith("check_unavailable: spaCy's model es_core_news_sm is not installed")
