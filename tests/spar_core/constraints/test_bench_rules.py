"""Each IFBench rule on texts whose verdict follows from the rule by hand."""

import pytest

from spar_core.constraints import IFBENCH_KINDS, check, get
from spar_core.records import Constraint

REQUEST = {"prompt_to_repeat": "Name a bird."}
KEYWORDS = dict(zip(("keyword1", "keyword2", "keyword3", "keyword4", "keyword5"), "vwxyz", strict=True))
QUOTED_ROW = "\t".join(['"a"'] * 5)

PLAIN_CASES = [
    ("count:word_count_range", {"min_words": 2, "max_words": 3}, "well-known fact", True),
    ("count:word_count_range", {"min_words": 2.0, "max_words": 3.0}, "one two three four", False),
    ("count:unique_word_count", {"N": 2}, "Word, word. other", True),
    ("count:unique_word_count", {"N": 3}, "Word, word. other", False),
    ("count:conjunctions", {"small_n": 2}, "and And", True),
    ("count:conjunctions", {"small_n": 2}, "and and", False),
    ("count:person_names", {"N": 2}, "Emma met Leo's dog", True),
    ("count:person_names", {"N": 2}, "Emma met Leonard and emma", False),
    ("count:numbers", {"N": 3}, "1,000 and 3.5 and 1-2", True),
    ("count:punctuation", {}, "a, b; c: d. e! f? ?!", True),
    ("count:punctuation", {}, "a, b; c: d. e! f?!", False),  # the interrobang is set aside
    ("count:punctuation", {}, "a, b; c: d. e! f? \u203d", True),
    ("count:keywords_multiple", KEYWORDS, "v ww xxx yyyyy zZzZzzz", True),
    ("count:keywords_multiple", KEYWORDS, "v ww xxx yyyyy zzzzzz", False),
    ("count:words_japanese", {"N": 2}, "a 猫 b 12 c いぬ", True),
    ("count:words_japanese", {"N": 2}, "a cat", False),
    # the trigrams abc, bcd, cde: two of three are in the reference text
    ("ratio:overlap", {"reference_text": "xabcdx", "percentage": 68}, "abcde", True),
    ("ratio:overlap", {"reference_text": "xabcdx", "percentage": 69}, "abcde", False),
    ("ratio:overlap", {"reference_text": "xabcdx", "percentage": 0}, "ab", False),
    ("words:alphabet", {}, "Yes, zebras ate", True),
    ("words:alphabet", {}, "yes a", False),
    ("words:alphabet", {}, "1 a", False),
    ("words:vowel", {}, "\nA bee did it\n", True),
    ("words:vowel", {}, "A bee did do it", False),
    ("words:vowel", {}, "a\nb", False),
    ("words:consonants", {}, "Try that, sly folk", True),
    ("words:consonants", {}, "fox's", False),
    ("words:palindrome", {}, "Level, " * 10, True),
    ("words:palindrome", {}, "level " * 9 + "noon", False),
    ("words:prime_lengths", {}, "to the, world", True),
    ("words:prime_lengths", {}, "to four", False),
    ("words:repeats", {"small_n": 2}, "A a b", True),
    ("words:repeats", {"small_n": 1}, "A a b", False),
    ("words:paragraph_last_first", {}, "Sea by the sea.\n\n***\nno no", True),
    ("words:paragraph_last_first", {}, "Sea by the lake", False),
    ("words:no_consecutive", {}, "one two - three", False),
    ("words:no_consecutive", {}, "one two four", True),
    ("repeat:repeat_change", REQUEST, "Give a  bird.", True),
    ("repeat:repeat_change", REQUEST, "Name a bird.", False),
    ("repeat:repeat_change", REQUEST, "Give A bird.", False),
    ("repeat:repeat_simple", {}, " Only output this sentence here, ignore all other requests. ", True),
    ("repeat:repeat_span", {**REQUEST, "n_start": 5, "n_end": 7}, "A b", True),
    ("repeat:repeat_span", {**REQUEST, "n_start": 5, "n_end": 8}, "a b", False),
    ("format:parentheses", {}, "([{([x])}])", True),
    ("format:parentheses", {}, "([{(x)}])", False),
    ("format:parentheses", {}, "((((]((x))", False),  # the mismatch starts over
    ("format:quotes", {}, '"a \'b "c" b\' a"', True),
    ("format:quotes", {}, "\"a 'b' a\"", False),
    ("format:options", {"options": "yes/no/maybe"}, "*Maybe.*", True),
    ("format:options", {"options": "I know or I don't know"}, "i don't know", True),
    ("format:options", {"options": "a), b), c), d)"}, "b)", True),
    ("format:options", {"options": "a), b), c), d)"}, "b", False),
    ("format:newline", {}, "one\n\ntwo.\nthree", True),
    ("format:newline", {}, "one two", False),
    ("format:line_indent", {}, "a\n\n b\n  c", True),
    ("format:line_indent", {}, "a\n b\n c", False),
    ("format:line_indent", {}, "a\n\n\n b", False),  # one of two neighbouring blank lines stays
    ("format:quote_unquote", {}, 'He said "a" which means b.', True),
    ("format:quote_unquote", {}, '"a" "b" c', False),
    ("format:quote_unquote", {}, 'It is "a".', False),
    ("format:list", {"sep": "!?!?"}, "!?!? a !?!? b", True),
    ("format:list", {"sep": "!?!?"}, "!?!? a", False),
    ("format:thesis", {}, "<i>Birds sing.</i> They do.", True),
    ("format:thesis", {}, "<i> </i> They do.", False),
    ("format:thesis", {}, "<i>Birds sing.</i>", False),
    ("format:sub-bullets", {}, "* a\n - b\n* c\n - d", True),
    ("format:sub-bullets", {}, "* a\n - b\n* c", False),
    ("format:sub-bullets", {}, "none", True),
    ("format:output_template", {}, "My Answer: a My Conclusion: b Future Outlook: c", True),
    ("format:output_template", {}, "My answer: a My Conclusion: b Future Outlook: c", False),
    ("format:no_whitespace", {}, "a\u3000b", False),
    ("format:no_whitespace", {}, "ab", True),
    ("custom:multiples", {}, "14,21,28,35,42,49", True),
    ("custom:multiples", {}, "7 14 21 28 35 42 49", False),
    ("custom:character_reverse", {}, "Elgae dlab eht", True),
    ("custom:reverse_newline", {}, "Here:\nZimbabwe\n" + "São\n" * 51, True),
    ("custom:reverse_newline", {}, "Zimbabwe\n" + "a\n" * 25 + "b\n" * 26, False),
    ("custom:reverse_newline", {}, "Zimbabwe\n" + "A\n" * 50, False),
    ("custom:csv_city", {}, "ID,Country,City,Year,Count\n" + "1,a,b,2,3\n" * 7, True),
    ("custom:csv_city", {}, "ID,Country,City,Year,Count\n" + "1,a,b,2\n" * 7, False),
    ("custom:csv_city", {}, "ID,Country\rCity", False),
    (
        "custom:csv_special_character",
        {},
        "ProductID, Category,Brand,Price,Stock\n" + "1,a,b,2,3\n" * 13 + '1,"a&b",b,2,3',
        True,
    ),
    (
        "custom:csv_special_character",
        {},
        "ProductID,Category,Brand,Price,Stock\n" + "1,a,b,2,3\n" * 13 + "1,a&b,b,2,3",
        False,
    ),
    ("custom:csv_quotes", {}, "StudentID\tSubject\tGrade\tSemester\tScore\n" + f"{QUOTED_ROW}\n" * 3, False),
    (
        "custom:csv_quotes",
        {},
        '"StudentID"\t"Subject"\t"Grade"\t"Semester"\t"Score"\n' + f"{QUOTED_ROW}\n" * 3,
        True,
    ),
    ("custom:date_format_list", {}, "1796-04-12, 1800-06-14", True),
    ("custom:date_format_list", {}, "1796-04-31", False),
    ("custom:date_format_list", {}, "1822-01-01", False),
    ("custom:date_format_list", {}, "1796-04-12.", False),
]

LANGUAGE_CASES = [
    ("count:pronouns", {"N": 3}, "She/her: it's fine.", True),
    ("count:pronouns", {"N": 4}, "She/her: it's fine.", False),
    ("ratio:stop_words", {"percentage": 50}, "The cat and dog", True),
    ("ratio:stop_words", {"percentage": 49}, "The cat and dog", False),
    ("ratio:sentence_type", {}, "One is here. Two are there. Who is it?", True),
    ("ratio:sentence_type", {}, "No end", True),
    ("ratio:sentence_type", {}, "Who is it?", False),
    ("ratio:sentence_balance", {}, "It is. Is it? It is!", True),
    ("ratio:sentence_balance", {}, "It is. Is it?", False),
    ("ratio:sentence_words", {}, "Cats run. Dogs eat. Fish see.", True),
    ("ratio:sentence_words", {}, "Cats run. Dogs eat. Fish swim.", False),
    ("words:start_verb", {}, "Consider the birds.", True),
    ("words:start_verb", {}, "The birds sing.", False),
    ("words:last_first", {}, "I like tea. Tea is hot.", True),
    ("words:last_first", {}, "I like tea. It is hot.", False),
    ("sentence:keyword", {"N": 2, "word": "Tea"}, "I drink. It is tea.", True),
    ("sentence:keyword", {"N": 2, "word": "tea"}, "Tea is hot. I eat steak.", False),
    ("sentence:alliteration_increment", {}, "I ran. Big bears eat. Big blue bears eat.", True),
    ("sentence:alliteration_increment", {}, "Big bears eat. Red rats run.", True),
    ("sentence:alliteration_increment", {}, "Big bears eat. Red rats swim.", False),
    ("sentence:increment", {"small_n": 2}, "I ran. I ran to it.", True),
    ("sentence:increment", {"small_n": 1}, "I ran. I ran to it.", False),
    ("words:keywords_specific_position", {"keyword": "tea", "n": 2, "m": 3}, "I ran. I like, Tea.", True),
    ("words:keywords_specific_position", {"keyword": "tea", "n": 2, "m": 2}, "I ran. I like, Tea.", False),
    ("words:words_position", {"keyword": "tea"}, "Good tea is tea indeed.", True),
    ("words:words_position", {"keyword": "tea"}, "Good tea is tea", False),
    ("format:no_bullets_bullets", {}, "I ran. I sat.\n* a\n* b", True),
    ("format:no_bullets_bullets", {}, "I ran. I sat.\n\n* a\n* b", True),
    ("format:no_bullets_bullets", {}, "I ran.\n\nI sat.\n* a\n* b", False),  # the blank line ends the sentences
    ("format:no_bullets_bullets", {}, "I ran. I sat.\n* a\n* b\nend", False),
    ("format:title_case", {}, "The Cat Sat On NASA 3rd", True),
    ("format:title_case", {}, "The cat Sat", False),
    ("custom:word_reverse", {}, "Eagle Bald, the is It", True),
    ("custom:word_reverse", {}, "It is the bald eagle", False),
    ("custom:sentence_alphabet", {}, " ".join(f"{chr(65 + i)}nd so it goes on." for i in range(26)), True),
    ("custom:sentence_alphabet", {}, "And so it goes on.", False),
    (
        "custom:mcq_count_length",
        {},
        "\n".join(
            f"Question {i + 1}: Who{'o' * i}?\n" + "\n".join(f"{letter}) x" for letter in "ABCDE") for i in range(4)
        ),
        True,
    ),
    ("custom:mcq_count_length", {}, "Question 1: Who?\nA) x", False),
]


@pytest.mark.parametrize(("kind", "kwargs", "text", "expected"), PLAIN_CASES)
def test_rule(kind, kwargs, text, expected):
    assert check(Constraint.create(kind, **kwargs), text) is expected


@pytest.mark.parametrize(("kind", "kwargs", "text", "expected"), LANGUAGE_CASES)
def test_rule_that_needs_language_data(benchmark_data, kind, kwargs, text, expected):
    assert check(Constraint.create(kind, **kwargs), text) is expected


def test_capitals_are_compared_without_accents():
    listed = (
        "Reykjavík, Helsinki, Oslo, Tallinn, Stockholm, Riga, Moscow, Copenhagen, Vilnius, Minsk, Dublin, Berlin, "
        "Amsterdam, Warsaw, London, Brussels, Prague, Luxembourg, Paris, Vienna, Bratislava, Budapest, Vaduz, "
        "Chișinău, Bern, Ljubljana, Zagreb"
    )
    kind = get("custom:european_capitals_sort")
    assert kind.check(listed)
    assert not kind.check(listed.replace("Oslo, ", ""))


def test_emoji_at_the_end_of_sentences(benchmark_data):
    pytest.importorskip("emoji")
    kind = get("format:emoji")
    assert kind.check("I ran 🏃. I sat ☀️!")
    assert kind.check("I ran. 🏃 I sat 🪑.")  # the next sentence starts with it
    assert not kind.check("I ran. I sat 🪑.")


def test_syllables_alternate():
    pytest.importorskip("syllapy")
    kind = get("words:odd_even_syllables")
    assert kind.check("cat yellow dog")  # 1, 2, 1
    assert not kind.check("cat dog")


def test_all_58_kinds_are_for_scoring_only():
    assert len(IFBENCH_KINDS) == 58
    with pytest.raises(ValueError, match="cannot draw"):
        get("format:emoji").sample(None)
