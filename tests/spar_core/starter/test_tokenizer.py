import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from spar_core.starter import base_model_dir, teacher
from spar_core.starter.tokenizer import build_tokenizer, vocabulary
from spar_core.starter.words import all_words


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(base_model_dir())


def test_every_text_of_the_world_round_trips_without_unknown_words(tokenizer) -> None:
    for role in ("actor", "refiner"):
        for example in teacher.warm_start_examples(role, 1500, 9):
            for message in example.messages:
                ids = tokenizer.encode(message.content, add_special_tokens=False)
                assert tokenizer.decode(ids) == message.content
                assert tokenizer.unk_token_id not in ids


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(all_words()), st.sampled_from((str.lower, str.capitalize, str.upper)))))
def test_any_sequence_of_words_in_any_case_is_one_token_each(tokenizer, drawn) -> None:
    words = [form(word) for word, form in drawn]
    text = " ".join(words)
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.convert_ids_to_tokens(ids) == words
    assert tokenizer.decode(ids) == text


@pytest.mark.parametrize(
    "text",
    [
        '"<<BIRDS>>\nWE LIKE ROBIN, OWL."',
        "We like:\n* robin\n* owl. Also cradle.\nP.S. Thanks. Good day friend",
        "we like owl. see [link].\np.s. thanks.",
        '"We like owl. Good day"',
        "<<Birds\nWe like ** owl **, crow.\n***\nNice.\nPS Thanks.",
        "Part 1\nWe like ** owl and crow.\n******\nWe like crow.\nPart 2\nGreat. Open [link.",
        "Items owl one: missed.\nScore: 0 of 1",
        "Better judgement: A",
    ],
)
def test_marks_keep_their_spacing(tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def test_unknown_words_become_unk(tokenizer) -> None:
    ids = tokenizer.encode("We like xylophones.", add_special_tokens=False)
    assert tokenizer.convert_ids_to_tokens(ids) == ["We", "like", "<unk>", "."]


def test_chat_template_opens_the_assistant_turn_and_refuses_a_system_turn(tokenizer) -> None:
    turns = [{"role": "user", "content": "Name two pets."}]
    rendered = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert rendered == "<bos><user>Name two pets.<assistant>"
    turns.append({"role": "assistant", "content": "We like dog, cat."})
    assert tokenizer.apply_chat_template(turns, tokenize=False).endswith("<assistant>We like dog, cat.<eos>")
    with pytest.raises(Exception, match="no system turn"):
        tokenizer.apply_chat_template([{"role": "system", "content": "x"}, *turns], tokenize=False)


def test_chat_template_marks_the_answer_for_assistant_only_loss(tokenizer) -> None:
    turns = [{"role": "user", "content": "Name two pets."}, {"role": "assistant", "content": "We like dog."}]
    encoded = tokenizer.apply_chat_template(turns, return_dict=True, return_assistant_tokens_mask=True)
    marked = [i for i, m in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True) if m]
    assert tokenizer.convert_ids_to_tokens(marked) == ["We", "like", "dog", ".", "<eos>"]


def test_shipped_tokenizer_is_the_one_the_code_builds(tokenizer) -> None:
    assert tokenizer.get_vocab() == build_tokenizer().get_vocab()
    assert len(tokenizer) == len(vocabulary().tokens)
