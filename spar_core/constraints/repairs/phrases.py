"""What an edit adds to an answer: plain sentences without commas, digits and marks that other kinds count.

An edit draws among them, so that a model that learns from repairs learns the edit and no one string.
"""

from random import Random
from typing import Final, NamedTuple

SENTENCES: Final = (
    "There is more to say about this.",
    "Each of these points deserves some thought.",
    "Small details often matter the most.",
    "It helps to take one step at a time.",
    "That is worth keeping in mind.",
    "A little patience goes a long way.",
    "Time will tell how it turns out.",
    "There are several sides to this story.",
    "Others may see it in a different light.",
    "It is better to start small than not to start at all.",
    "Not every answer is this simple.",
    "The rest follows from these first points.",
    "Sooner or later the effort is rewarded.",
    "None of this needs to be rushed.",
    "It is easy to overlook at first sight.",
    "In the end it is a question of interest and taste.",
    "Still there is reason to be confident.",
    "The important thing is to remain interested.",
    "A second look often reveals another reason.",
    "Different readers are sure to notice different things.",
    "What matters is the direction rather than the speed.",
    "Those who try it tend to return to it.",
    "Experience is the best teacher in these matters.",
    "It is one of the questions that never grow old.",
    "Nothing here is set in stone.",
    "This is a good place to stop and reflect.",
    "Every part has its own place in the whole.",
    "Much depends on the situation and on the people involved.",
    "Sometimes the shortest route is not the best one.",
    "Careful attention to the essentials is never wasted.",
    "The results are seen over a series of seasons.",
    "It is a matter of balance between too little and too much.",
    "Anyone can learn to appreciate it in due time.",
    "Good habits make it easier to go on.",
    "It is often the little things that make the difference.",
    "There is no single right way to go about it.",
)
"""True of nearly every answer, and rich in common letters."""

_ABOUT_THINGS: Final = (
    "There is room for {word} here as well.",
    "Some thoughts about {word} belong here too.",
    "The idea of {word} fits in here.",
    "Think of {word} as a part of this.",
    "All of this has something to do with {word}.",
    "It is hard not to think of {word} here.",
    "One more thing to mention is {word}.",
    "This brings {word} to mind.",
)
_ABOUT_WORDS: Final = (
    "The word {word} describes it well.",
    "One word for it is {word}.",
    "Another good word here is {word}.",
    "Some would call it {word}.",
    "The word {word} belongs here too.",
    "A reader may think of the word {word}.",
)
_CLAUSES_OF_THINGS: Final = (
    "with {word} in mind",
    "and {word} plays a part in it",
    "and that is where {word} comes in",
    "which brings {word} to mind",
)
_CLAUSES_OF_WORDS: Final = (
    "and some would call it {word}",
    "and {word} is the word for it",
    "or {word} in a word",
    "which one may call {word}",
)
_QUALITIES: Final = frozenset({"custom", "gentle", "hollow", "honest", "noble", "quiet", "simple", "vintage", "yellow"})
_ENDINGS_OF_OTHERS: Final = ("ly", "ous", "ful", "ive", "less", "able", "ible", "ed", "ing", "ish", "est", "ant", "ic")

POSTSCRIPTS: Final = (
    "Thank you for your time.",
    "Feel free to ask if anything is unclear.",
    "Do let me know how it goes.",
    "There is more where this came from.",
    "I hope this is of some use.",
    "A short note on your plans would be welcome.",
    "Take good care of yourself.",
    "I almost forgot to wish you luck.",
    "A friend of mine tried this and liked it.",
    "It gets easier the second time.",
)
BULLETS: Final = (
    "Take your time with each step",
    "Keep an eye on the details",
    "Ask for help where you need it",
    "Note what works and what does not",
    "Come back to it from time to time",
    "Leave some room for changes",
)
SHORTER: Final = (
    "In short:",
    "Here is a shorter version.",
    "Put more briefly:",
    "A second answer in fewer words:",
    "The same in brief:",
)
PLACEHOLDERS: Final = (
    "For more details contact {person} at {address}.",
    "You can reach {person} under {number}.",
    "Please send your answer to {address} by {date}.",
    "This was prepared for {person} on {date} in {place}.",
    "Questions go to {person}.",
    "More can be found at {page}.",
    "It was last changed on {date}.",
    "The next meeting is on {date} at {time} in {place}.",
    "Add your own example here: {example}.",
    "It was written by {person} for {company}.",
    "See {page} or write to {address}.",
)
_BLANKS: Final = {
    "person": ("[name]", "[your name]", "[contact person]", "[manager]"),
    "address": ("[address]", "[email]", "[email address]"),
    "number": ("[phone number]", "[number]", "[phone]"),
    "date": ("[date]", "[day]", "[month]"),
    "time": ("[time]", "[hour]"),
    "place": ("[city]", "[place]", "[location]", "[country]"),
    "page": ("[website]", "[link]", "[source]"),
    "example": ("[example]", "[your example]", "[text]"),
    "company": ("[company]", "[department]", "[organization]"),
}


class Filled(NamedTuple):
    """A sentence with blanks to fill in, the template it was made from, and how many blanks it has."""

    template: str
    text: str
    blanks: int


def filled_sentence(most: int, used: set[str], rng: Random) -> Filled | None:
    """A sentence with one to `most` blanks; None where all such templates are used."""
    fitting = [words for words in PLACEHOLDERS if words.count("{") <= most and words not in used]
    if not fitting:
        return None
    words = rng.choice(fitting)
    blanks = {kind: rng.choice(choices) for kind, choices in _BLANKS.items()}
    return Filled(words, words.format(**blanks), words.count("{"))


def sentence_with(word: str, text: str, rng: Random) -> str:
    """A sentence that holds a word or phrase, whatever it means, and that the text does not have yet."""
    return _unused(_ABOUT_THINGS if names_a_thing(word) else _ABOUT_WORDS, word, text, rng)


def clause_with(word: str, text: str, rng: Random) -> str:
    """Words to put before the end of a sentence, with a given word among them."""
    return _unused(_CLAUSES_OF_THINGS if names_a_thing(word) else _CLAUSES_OF_WORDS, word, text, rng)


def _unused(templates: tuple[str, ...], word: str, text: str, rng: Random) -> str:
    filled, lowered = [template.format(word=word) for template in templates], text.lower()
    return rng.choice([words for words in filled if words.lower() not in lowered] or filled)


def fresh_sentences(text: str, rng: Random) -> list[str]:
    """The plain sentences that a text does not hold yet, shuffled."""
    lowered = text.lower()
    unused = [sentence for sentence in SENTENCES if sentence.lower() not in lowered]
    return rng.sample(unused, len(unused))


def names_a_thing(word: str) -> bool:
    """Whether a word is none that its ending shows to be an adjective, an adverb or a verb."""
    bare = word.strip().lower()
    return " " not in bare and bare not in _QUALITIES and not bare.endswith(_ENDINGS_OF_OTHERS)
