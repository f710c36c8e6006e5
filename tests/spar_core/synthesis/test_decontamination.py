import pytest

from spar_core.benchmarks import data_source
from spar_core.errors import ConfigError, DataError
from spar_core.evaluation.data_sources import find_data
from spar_core.records import Prompt
from spar_core.synthesis import decontaminate, read_benchmark, read_benchmarks

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
WORDS = LONG.split()


def _dropped(text, benchmark, **options):
    result = decontaminate([Prompt.create(text)], {"bench": [benchmark]}, **options)
    assert len(result.kept) + len(result.drops) == 1
    assert result.counts == {"bench": len(result.drops)}
    return bool(result.drops)


def test_thirteen_shared_words_are_too_many_and_twelve_are_not():
    assert _dropped("Please: " + ", ".join(WORDS[1:]).upper() + "!", LONG)
    assert not _dropped(" ".join(WORDS[:12]) + " other " + " ".join(WORDS[12:]), LONG)


def test_n_is_a_choice():
    assert _dropped("a b " + " ".join(WORDS[2:7]), LONG, ngram=5)
    assert not _dropped("a b " + " ".join(WORDS[2:6]), LONG, ngram=5)


def test_short_benchmark_prompts_count_whole():
    eight = " ".join(WORDS[:8])
    assert _dropped(f"Now {eight} again", eight)
    assert not _dropped(f"Now {' '.join(WORDS[:7])} again", eight)
    assert not _dropped("Name a bird that can swim.", "Name a bird")  # everyday language
    assert _dropped("name a  bird!", "Name a bird")


def test_scripts_without_blanks_are_compared_by_character():
    shared = "请写一封邀请邻居参加花园聚会的信"
    assert _dropped("好的" + shared, shared)


def test_first_benchmark_that_matches_is_named():
    prompt = Prompt.create("x " + LONG)
    result = decontaminate([prompt], {"none": ["other"], "hit": [LONG], "later": [LONG]})
    assert result.counts == {"none": 0, "hit": 1, "later": 0}
    (drop,) = result.drops
    assert (drop.record_id, drop.reason) == (prompt.prompt_id, "benchmark_overlap")
    assert drop.detail == "hit: " + " ".join(WORDS[:13])


def test_two_words_are_no_ngram():
    with pytest.raises(ConfigError, match="fewer than 3"):
        decontaminate([], {}, ngram=2)


def test_benchmark_folder(benchmark_data):
    benchmarks = read_benchmarks(benchmark_data)
    assert {"ifeval": 541, "ifbench": 300}.items() <= {name: len(texts) for name, texts in benchmarks.items()}.items()
    prompts = [Prompt.create(text) for text in (*benchmarks["ifeval"][:5], "Name a bird that can swim.")]
    assert len(decontaminate(prompts, benchmarks).drops) == 5


def test_one_benchmark_from_where_eval_finds_it(benchmark_data):
    whole = read_benchmarks(benchmark_data)
    for name in ("ifeval", "followbench", "llmbar"):
        assert read_benchmark(name, find_data(name, data_source(name), benchmark_data)) == whole[name]


def test_a_place_without_its_prompts_says_what_was_looked_for(tmp_path):
    with pytest.raises(DataError, match=r"no prompts of llmbar in .*dataset\.json"):
        read_benchmark("llmbar", tmp_path)


def test_a_folder_without_benchmarks_says_what_was_looked_for(tmp_path):
    with pytest.raises(DataError, match="ifeval/input_data"):
        read_benchmarks(tmp_path)
