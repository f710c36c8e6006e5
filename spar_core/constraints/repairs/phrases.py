"""What an edit adds to an answer: plain sentences without commas, digits and marks that other kinds count.

An edit draws among them, so that a model that learns from repairs learns the edit and no one string.
"""

from random import Random
from typing import Final

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
    "along with {word}",
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
    ("For more details contact {} at {}.", 2),
    ("You can reach {} under {}.", 2),
    ("Please send your answer to {} by {}.", 2),
    ("This was prepared for {} on {} in {}.", 3),
    ("Questions go to {}.", 1),
    ("More can be found at {}.", 1),
    ("It was last changed on {}.", 1),
    ("The next meeting is on {} at {} in {}.", 3),
    ("Add your own example here: {}.", 1),
)
BLANKS: Final = (
    "[name]", "[address]", "[date]", "[email]", "[phone number]", "[city]", "[company]", "[website]", "[time]",
    "[place]", "[title]", "[department]", "[country]", "[contact person]", "[your name]", "[subject]",
)  # fmt: skip


def sentence_with(word: str, rng: Random) -> str:
    """A sentence that holds a word or phrase, whatever it means."""
    return rng.choice(_ABOUT_THINGS if _names_a_thing(word) else _ABOUT_WORDS).format(word=word)


def clause_with(word: str, rng: Random) -> str:
    """Words to put before the end of a sentence, with a given word among them."""
    return rng.choice(_CLAUSES_OF_THINGS if _names_a_thing(word) else _CLAUSES_OF_WORDS).format(word=word)


def fresh_sentences(text: str, rng: Random) -> list[str]:
    """The plain sentences that a text does not hold yet, shuffled."""
    lowered = text.lower()
    unused = [sentence for sentence in SENTENCES if sentence.lower() not in lowered]
    return rng.sample(unused, len(unused))


def blanks(count: int, text: str, rng: Random) -> list[str]:
    """Different placeholders, those first that the text does not have; fewer where there are not so many."""
    unused = [blank for blank in BLANKS if blank.lower() not in text.lower()]
    used = [blank for blank in BLANKS if blank not in unused]
    return [*rng.sample(unused, len(unused)), *rng.sample(used, len(used))][:count]


def _names_a_thing(word: str) -> bool:
    return " " not in word.strip() and not word.lower().endswith(_ENDINGS_OF_OTHERS)
