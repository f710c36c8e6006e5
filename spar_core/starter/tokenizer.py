"""The starter's tokenizer: one token per word and case, one per fixed phrase; spaces are implied.

A plain `tokenizers` file that `AutoTokenizer` and vLLM load without remote code. Texts of the world round-trip:
the pre-tokenizer drops spaces, and the decoder puts one between tokens except around marks and line breaks.
"""

import re
from functools import cache
from typing import Any, Final, NamedTuple

from spar_core.starter import prompt_texts, teacher, verification
from spar_core.starter.words import all_words
from spar_core.starter.world import WORDINGS

PAD, BOS, EOS, UNK, USER, ASSISTANT = "<pad>", "<bos>", "<eos>", "<unk>", "<user>", "<assistant>"
SPECIALS: Final = (PAD, BOS, EOS, UNK, USER, ASSISTANT)
_MARKS: Final = (
    *("\n", '"', ",", ".", ":", "*", "**", "***", "******", "<<", ">>", "[", "]", "P.S.", "p.s.", "PS", "ps"),
    *(verification.FIRST_LETTER, verification.SECOND_LETTER, *"0123456"),
)
# Undo the space that joins tokens. Left context only, so that text can be decoded as a stream.
_SPACING: Final = (
    (r" (?=[,.:\]]|>>)", ""),
    (r" ?\n ?", "\n"),
    (r"(?<=<<|\[) ", ""),
    (r'(?<=\A|\n)" (?=\S)', '"'),
    (r'(?<=\S) "', '"'),
)
CHAT_TEMPLATE: Final = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ '<user>' + message['content'] }}"
    "{% elif message['role'] == 'assistant' %}{{ '<assistant>' }}"
    "{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}"
    "{% else %}{{ raise_exception('the starter model takes user and assistant turns only, no system turn') }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)


class Vocabulary(NamedTuple):
    """Tokens by id; `bases` and `cases` (same length) say which word in which of the forms a token is.

    Case 0: not a word, 1: lower case, 2: capitalised, 3: upper case.
    """

    tokens: tuple[str, ...]
    bases: tuple[int, ...]
    cases: tuple[int, ...]


def vocabulary() -> Vocabulary:
    """All tokens: specials, marks, phrases, then every word in its three forms."""
    fixed = [*SPECIALS, *_MARKS, *_phrases()]
    tokens, bases, cases = list(fixed), list(range(len(fixed))), [0] * len(fixed)
    for offset, word in enumerate(all_words()):
        for case, form in enumerate((word, word.capitalize(), word.upper()), start=1):
            tokens.append(form)
            bases.append(len(fixed) + offset)
            cases.append(case)
    if len(set(tokens)) != len(tokens):
        raise AssertionError("a token occurs twice")
    return Vocabulary(tuple(tokens), tuple(bases), tuple(cases))


def is_sayable(text: str) -> bool:
    """Whether the starter has a token for every word of a text."""
    pattern, known = _words_and_tokens()
    return known.issuperset(pattern.findall(text))


@cache
def _words_and_tokens() -> tuple[re.Pattern[str], frozenset[str]]:
    return re.compile(_pattern()), frozenset(vocabulary().tokens)


def build_tokenizer() -> Any:
    """The tokenizer as a `transformers.PreTrainedTokenizerFast`."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocab = {token: index for index, token in enumerate(vocabulary().tokens)}
    raw = Tokenizer(models.WordLevel(vocab, unk_token=UNK))
    raw.pre_tokenizer = pre_tokenizers.Split(Regex(_pattern()), behavior="removed", invert=True)
    raw.decoder = decoders.Sequence(
        [
            decoders.WordPiece(prefix="\0", cleanup=False),
            decoders.Fuse(),
            *[decoders.Replace(Regex(pattern), content) for pattern, content in _SPACING],
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        unk_token=UNK,
        additional_special_tokens=[USER, ASSISTANT],
        clean_up_tokenization_spaces=False,
        model_max_length=512,
        padding_side="left",
        chat_template=CHAT_TEMPLATE,
    )


def _pattern() -> str:
    longest_first = sorted([*_phrases(), *(mark for mark in _MARKS if len(mark) > 1)], key=len, reverse=True)
    fixed = [re.escape(text).replace("\\ ", " ") + (r"\b" if text[-1].isalnum() else "") for text in longest_first]
    return "|".join([*fixed, "[A-Za-z]+", r"\n", r"[^\s]"])


def _phrases() -> tuple[str, ...]:
    found: list[str] = list(teacher.phrases())
    for wordings in WORDINGS.values():
        found += [wording.split(" {}")[0] for wording in wordings]
    found += prompt_texts.fixed_lines()
    return tuple(sorted(set(found)))
