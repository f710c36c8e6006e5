"""IFBench's one-off instructions: each has a single fixed task, whose result can be checked."""

import csv
import io
import re
import string
import unicodedata
from itertools import pairwise

from spar_core.constraints.bench_counts import EDGES, WITHOUT_PUNCTUATION, score_only
from spar_core.constraints.kind import Arguments
from spar_core.constraints.text_view import TextView

_MULTIPLES = ["14", "21", "28", "35", "42", "49"]
_QUESTION = re.compile(r"Question \d+[.|):;]?\s*")
_OPTION = re.compile(r"[A-Ea-e][.|)]\s*\w")
_COUNTRIES = 52
_CAPITAL_TEXT = """
    Reykjavik Helsinki Oslo Tallinn Stockholm Riga Moscow Copenhagen Vilnius Minsk Dublin Berlin Amsterdam Warsaw London
    Brussels Prague Luxembourg Paris Vienna Bratislava Budapest Vaduz Chisinau Bern Ljubljana Zagreb
"""
_CAPITALS = _CAPITAL_TEXT.split()
_CITY_HEADER = ["ID", "Country", "City", "Year", "Count"]
_PRODUCT_HEADER = ("ProductID", "Category", "Brand", "Price", "Stock")
_STUDENT_HEADER = ("StudentID", "Subject", "Grade", "Semester", "Score")
_SPECIAL = re.compile(r"[^\w\s]")
_DATE = re.compile(r"(\d{4})-(\d{2})-(\d{2})")
_NAPOLEON = range(1769, 1822)
_MONTH_DAYS = {1: 31, 2: 29, 3: 31, 4: 30, 5: 31, 6: 30, 7: 31, 8: 31, 9: 30, 10: 31, 11: 30, 12: 31}


def _multiples(text: TextView, _bound: Arguments) -> bool:
    return re.findall(r"\d+", text.text) == _MULTIPLES


def _growing_questions(text: TextView, _bound: Arguments) -> bool:
    if not text.text.startswith("Question"):
        return False
    questions = [part.strip() for part in _QUESTION.split(text.text) if part.strip()]
    lengths = [length for question in questions if (length := _question_length(question)) is not None]
    return len(questions) == len(lengths) == 4 and all(first < second for first, second in pairwise(lengths))


def _question_length(question: str) -> int | None:
    """Characters of the text before the options; null unless there are five options."""
    lines = [line.strip() for line in question.split("\n")]
    options = [index for index, line in enumerate(lines) if _OPTION.match(line)]
    if len(options) != 5:
        return None
    return len(" ".join(lines[: options[0]]).strip())


def _reverse_countries(text: TextView, _bound: Arguments) -> bool:
    lines = [bare for line in text.lines if (bare := line.strip(EDGES))]
    start = next((index for index, line in enumerate(lines) if "Zimbabwe" in line), None)
    if start is None or len(lines) - start < _COUNTRIES:
        return False
    plain = [_without_accents(line) for line in lines[start:]]
    return all(first >= second for first, second in pairwise(plain))


def _without_accents(text: str) -> str:
    """ASCII letters; what has none disappears."""
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii")


def _reversed_words(text: TextView, _bound: Arguments) -> bool:
    words = text.lowered.translate(WITHOUT_PUNCTUATION).split()
    forwards = " ".join(reversed(words))
    return "bald eagle" in forwards and forwards in TextView(forwards).sentences


def _reversed_characters(text: TextView, _bound: Arguments) -> bool:
    return "elgae dlab" in text.lowered


def _alphabet_story(text: TextView, _bound: Arguments) -> bool:
    initials = [sentence.lstrip()[:1].lower()[:1] for sentence in text.sentences]
    return initials == list(string.ascii_lowercase)


def _capitals(text: TextView, _bound: Arguments) -> bool:
    return [name for part in _without_accents(text.text).split(",") if (name := part.strip())] == _CAPITALS


def _rows(text: str, delimiter: str = ",") -> list[list[str]]:
    """Parsed CSV; nothing where the text is no CSV."""
    try:
        return list(csv.reader(io.StringIO(text), delimiter=delimiter))
    except csv.Error:
        return []


def _city_csv(text: TextView, _bound: Arguments) -> bool:
    rows = _rows(text.text)
    return len(rows) == 8 and rows[0] == _CITY_HEADER and all(len(row) == 5 for row in rows[1:])


def _keeping_quotes(text: str) -> str:
    """Quotes doubled inside quotes, so that parsed fields still show which were quoted."""
    return text.replace('"', '"""')


def _header_pattern(names: tuple[str, ...], separator: str) -> re.Pattern[str]:
    return re.compile(separator.join(f'(?:{name}|"{name}")' for name in names))


_PRODUCT_LINE = _header_pattern(_PRODUCT_HEADER, r",[ \t]*")
_STUDENT_LINE = _header_pattern(_STUDENT_HEADER, r"\t *")


def _special_csv(text: TextView, _bound: Arguments) -> bool:
    """Rows are checked up to the first that has the quoted special field."""
    if not _PRODUCT_LINE.fullmatch(text.lines[0].strip()):
        return False
    rows = _rows(_keeping_quotes(text.text))
    if len(rows) != 15:
        return False
    for row in rows[1:]:
        if len(row) != 5:
            return False
        if any(_has_quoted_special(field) for field in row):
            return True
    return False


def _has_quoted_special(field: str) -> bool:
    line = field.partition("\n")[0]
    end = line.rfind('"')
    return line.startswith('"') and end > 1 and _SPECIAL.search(line, 1, end) is not None


def _quoted_csv(text: TextView, _bound: Arguments) -> bool:
    if not _STUDENT_LINE.fullmatch(text.lines[0].strip()):
        return False
    rows = _rows(_keeping_quotes(text.text), "\t")
    return len(rows) == 4 and all(len(row) == 5 and all(_is_quoted(field.strip()) for field in row) for row in rows)


def _is_quoted(field: str) -> bool:
    return field.startswith('"') and field.endswith('"')


def _battle_dates(text: TextView, _bound: Arguments) -> bool:
    return all(_is_battle_date(part.strip()) for part in text.stripped.split(","))


def _is_battle_date(date: str) -> bool:
    match = _DATE.fullmatch(date)
    if match is None:
        return False
    year, month, day = (int(part) for part in match.groups())
    # Month 0 passes in the reference, whatever the day.
    return year in _NAPOLEON and month <= 12 and day <= _MONTH_DAYS.get(month, 99)


_EAGLE = "Which animal is the national symbol of the US? Answer with a sentence in reverse order, "

score_only("custom:multiples", _multiples, wording="Count from 10 to 50 but print only the multiples of 7.")
score_only(
    "custom:mcq_count_length",
    _growing_questions,
    wording="Write four multiple choice questions of five options each on 20th century art history, each longer than "
    'the one before and labelled "Question", without explanation.',
)
score_only(
    "custom:reverse_newline",
    _reverse_countries,
    wording="List Africa's countries in reverse alphabetical order by line.",
)
score_only("custom:word_reverse", _reversed_words, wording=_EAGLE + "word by word.")
score_only("custom:character_reverse", _reversed_characters, wording=_EAGLE + "letter by letter.")
score_only(
    "custom:sentence_alphabet", _alphabet_story, wording="Tell a story of 26 sentences whose first letters run a to z."
)
score_only(
    "custom:european_capitals_sort",
    _capitals,
    wording="List Europe's capitals north of 45 degrees from north to south, separated by commas.",
)
score_only(
    "custom:csv_city",
    _city_csv,
    wording="Write 7 rows of comma-delimited CSV with the columns ID,Country,City,Year,Count.",
)
score_only(
    "custom:csv_special_character",
    _special_csv,
    wording="Write 14 rows of comma-delimited CSV with the columns ProductID,Category,Brand,Price,Stock and one quoted "
    "field that holds a special character.",
)
score_only(
    "custom:csv_quotes",
    _quoted_csv,
    wording="Write 3 rows of tab-delimited CSV with the columns StudentID, Subject, Grade, Semester and Score, every "
    "field in double quotes.",
)
score_only(
    "custom:date_format_list",
    _battle_dates,
    wording="List the start dates of Napoleon's battles as YYYY-MM-DD, separated by commas, without explanation.",
)
