from pathlib import Path

import pytest

from spar_core.errors import ConfigError
from spar_core.prompts import Markers, PromptFormat, PromptLibrary, VerdictForm

PUBLISHED = """
verdict:
  labels: ["Final Judgement (if the Output accurately follows the Prompt):"]
  yes: [Yes]
  no: [No]
markers: {start: "[[start]]", end: "[[end]]"}
refine: continuation
"""


def written(
    tmp_path: Path, form: str, judge: str | None = "J {{prompt}} {{response}}", refine: str | None = "R"
) -> Path:
    (tmp_path / "format.yaml").write_text(form)
    for name, text in (("judge", judge), ("refine", refine)):
        if text is not None:
            (tmp_path / f"{name}.txt").write_text(text)
    return tmp_path


def test_without_a_file_a_set_has_the_usual_form() -> None:
    for name in ("default", "starter"):
        assert PromptLibrary.load(name).format == PromptFormat()
    form = PromptFormat()
    assert (form.verdict.line(passes=True), form.verdict.line(passes=False)) == (
        "Final verdict: YES",
        "Final verdict: NO",
    )
    assert (form.markers.start, form.markers.end, form.refine) == ("<revised_answer>", "</revised_answer>", "request")


def test_a_folder_states_its_form(tmp_path: Path) -> None:
    form = PromptLibrary.load(written(tmp_path, PUBLISHED)).format
    # `yes` and `no` are words here, though YAML takes them for truth values
    assert form.verdict == VerdictForm(
        labels=("Final Judgement (if the Output accurately follows the Prompt)",), yes=("Yes",), no=("No",)
    )
    assert form.markers == Markers(start="[[start]]", end="[[end]]")
    assert form.refine == "continuation"
    assert form == PromptLibrary.load("published").format
    assert form.verdict.line(passes=False) == "Final Judgement (if the Output accurately follows the Prompt): No"


def test_the_form_counts_for_the_digest_of_what_it_decides(tmp_path: Path) -> None:
    plain = PromptLibrary.load(written(tmp_path, "", refine="R {{prompt}} {{response}} {{critique}}"))
    digests = {name: plain.digest_of(name) for name in ("judge", "refine", "evolve")}
    usual = PromptLibrary.load(written(tmp_path, "refine: request\nverdict: {yes: [YES]}\n", refine=None))
    assert {name: usual.digest_of(name) for name in digests} == digests

    def changed(form: str) -> list[str]:
        library = PromptLibrary.load(written(tmp_path, form, refine=None))
        assert library.digest != plain.digest
        return [name for name in digests if library.digest_of(name) != digests[name]]

    assert changed("verdict: {no: [Nope]}") == ["judge"]
    assert changed("markers: {start: '[[s]]', end: '[[e]]'}") == ["refine"]
    assert changed("refine: continuation") == ["refine"]
    assert changed("judge: per_constraint") == ["judge"]


def test_a_continuation_may_repeat_what_the_chat_holds_and_nothing_else(tmp_path: Path) -> None:
    library = PromptLibrary.load(written(tmp_path, PUBLISHED, refine="Mend it for: {{prompt}}"))
    assert library.placeholders("refine") == {"prompt"}
    with pytest.raises(ConfigError, match=r"refine\.txt: unknown placeholder \{\{answer\}\}"):
        PromptLibrary.load(written(tmp_path, PUBLISHED, refine="{{answer}}"))
    with pytest.raises(ConfigError, match=r"judge\.txt: placeholder \{\{response\}\} is missing"):
        PromptLibrary.load(written(tmp_path, PUBLISHED, judge="{{prompt}}"))


@pytest.mark.parametrize(
    ("form", "named"),
    [
        ("verdict: [", "cannot be read as YAML"),
        ("verdicts: {}", "unknown key verdicts; known are verdict"),
        ("verdict: {label: x}", "unknown key verdict.label"),
        ("refine: twice", "refine: Input should be 'request', 'continuation' or 'chat'"),
        ("judge: per_constraint\nrefine: continuation", "set refine to request or chat, or judge to whole"),
        ("verdict: {yes: []}", "verdict.yes: Tuple should have at least 1 item"),
        ("verdict: {yes: [ok], no: [OK]}", "'ok' stands under yes and under no"),
        ("verdict: {yes: ['[[Y]]']}", "must be words alone"),
        ("verdict: {labels: ['***']}", "must be one line with a word in it"),
        ("markers: {start: start}", "letters and a sign, such as [[start]]"),
        ("markers: {start: '[[a]]', end: '[[a]]!'}", "must not contain one another"),
    ],
)
def test_a_form_that_cannot_be_names_file_key_and_remedy(tmp_path: Path, form: str, named: str) -> None:
    with pytest.raises(ConfigError) as error:
        PromptLibrary.load(written(tmp_path, form))
    assert "format.yaml" in str(error.value)
    assert named in str(error.value)


def test_a_form_needs_the_texts_that_ask_for_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"format\.yaml: changes what judge\.txt asks for \(verdict\).*add one"):
        PromptLibrary.load(written(tmp_path, "verdict: {yes: [ja]}", judge=None, refine=None))
    with pytest.raises(ConfigError, match=r"changes what refine\.txt asks for \(markers, refine\)"):
        PromptLibrary.load(written(tmp_path, PUBLISHED, refine=None))


def test_checks_of_each_constraint_need_texts_of_their_own_only_for_another_verdict(tmp_path: Path) -> None:
    (tmp_path / "format.yaml").write_text("judge: per_constraint\n")
    library, default = PromptLibrary.load(tmp_path), PromptLibrary.load("default")
    assert library.texts == default.texts
    assert library.digest_of("judge") == PromptLibrary.load("per_constraint").digest_of("judge")
    (tmp_path / "judge_task.txt").write_text("Is it done? {{prompt}} {{response}}")
    assert PromptLibrary.load(tmp_path).digest_of("judge") != library.digest_of("judge")
    with pytest.raises(ConfigError, match=r"changes what judge_constraint\.txt asks for \(verdict\)"):
        PromptLibrary.load(written(tmp_path, "judge: per_constraint\nverdict: {yes: [ja]}", refine=None))


def test_a_misnamed_form_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "formats.yml").write_text(PUBLISHED)
    with pytest.raises(ConfigError, match=r"formats\.yml: not a file of a prompt set.*format\.yaml"):
        PromptLibrary.load(tmp_path)
