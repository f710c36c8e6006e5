from pathlib import Path

import pytest

from spar_core.errors import ConfigError
from spar_core.prompts import PromptLibrary, shipped_prompt_sets


def test_shipped_sets_hold_judge_and_refine() -> None:
    assert shipped_prompt_sets() == ["default", "per_constraint", "plain", "published", "starter"]
    for name in shipped_prompt_sets():
        library = PromptLibrary.load(name)
        assert library.placeholders("judge") == {"prompt", "response"}
        layouts = {"published": ("continuation", set()), "plain": ("chat", {"critique"})}
        usual = ("request", {"prompt", "response", "critique"})
        assert (library.format.refine, library.placeholders("refine")) == layouts.get(name, usual)


def test_values_are_not_filled_again() -> None:
    folder_text = PromptLibrary.load("starter").fill("judge", prompt="{{response}}", response="{{prompt}} $1 \\1")
    assert folder_text == "Check every rule.\nTask: {{response}}\nAnswer:\n{{prompt}} $1 \\1"


def test_a_folder_overrides_only_its_files(tmp_path: Path) -> None:
    (tmp_path / "judge.txt").write_bytes(b"Q {{ prompt }}\r\nA {{response}} {{prompt}}\n\n")
    library = PromptLibrary.load(tmp_path)
    assert library.fill("judge", prompt="p", response="r") == "Q p\nA r p"
    default = PromptLibrary.load()
    values = {"prompt": "p", "response": "r", "critique": "c"}
    assert library.fill("refine", **values) == default.fill("refine", **values)
    assert library.digest_of("refine") == default.digest_of("refine")
    assert library.digest != default.digest


def test_the_digest_is_that_of_the_texts(tmp_path: Path) -> None:
    (tmp_path / "judge.txt").write_text("{{prompt}} {{response}}")
    before = PromptLibrary.load(tmp_path).digest
    assert PromptLibrary.load(str(tmp_path)).digest == before
    (tmp_path / "judge.txt").write_text("{{prompt}}: {{response}}")
    assert PromptLibrary.load(tmp_path).digest != before


@pytest.mark.parametrize(
    ("file", "text", "named"),
    [
        ("judge.txt", "{{prompt}}", "{{response}} is missing"),
        ("judge.txt", "{{prompt}} {{response}} {{answer}}", "unknown placeholder {{answer}}"),
        ("refine.txt", "{{prompt}} {{response}}", "{{critique}} is missing"),
        ("jugde.txt", "{{prompt}}", "allowed: "),
    ],
)
def test_a_wrong_file_is_named_with_its_placeholder(tmp_path: Path, file: str, text: str, named: str) -> None:
    (tmp_path / file).write_text(text)
    with pytest.raises(ConfigError) as error:
        PromptLibrary.load(tmp_path)
    assert file in str(error.value)
    assert named in str(error.value)


def test_unreadable_text_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "judge.txt").write_bytes(b"\xff\xfe{{prompt}}")
    with pytest.raises(ConfigError, match=r"judge\.txt"):
        PromptLibrary.load(tmp_path)


def test_an_unknown_set_names_the_allowed_ones() -> None:
    with pytest.raises(ConfigError, match=r"'judges'.*default, per_constraint, plain, published, starter"):
        PromptLibrary.load("judges")


def test_filling_needs_exactly_the_placeholders() -> None:
    library = PromptLibrary.load()
    with pytest.raises(ConfigError, match=r"judge\.txt: no value for \{\{response\}\}"):
        library.fill("judge", prompt="p")
    with pytest.raises(ConfigError, match=r"judge\.txt: unknown placeholder \{\{critique\}\}"):
        library.fill("judge", prompt="p", response="r", critique="c")
    with pytest.raises(ConfigError, match=r"no summary\.txt"):
        library.fill("summary")


def test_further_wordings_stand_beside_the_first_and_count_for_the_digest(tmp_path):
    assert PromptLibrary.load().wordings("judge") == ("judge", "judge_2", "judge_3")
    assert PromptLibrary.load("starter").wordings("judge") == ("judge",)  # those of another set are none of its own
    (tmp_path / "judge.txt").write_text("Check {{prompt}} {{response}}")
    alone = PromptLibrary.load(tmp_path)
    (tmp_path / "judge_2.txt").write_text("Test {{prompt}} {{response}}")
    (tmp_path / "judge_11.txt").write_text("not reached {{prompt}} {{response}}")
    two = PromptLibrary.load(tmp_path)
    assert (alone.wordings("judge"), two.wordings("judge")) == (("judge",), ("judge", "judge_2"))
    assert alone.digest_of("judge") != two.digest_of("judge")
    assert alone.digest_of("refine") == two.digest_of("refine")
    (tmp_path / "judge_2.txt").write_text("Test {{prompt}}")
    with pytest.raises(ConfigError, match=r"judge_2.txt.*\{\{response\}\} is missing"):
        PromptLibrary.load(tmp_path)
