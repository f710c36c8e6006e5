"""The words of the starter's world: topics with their items in canonical order, and argument banks per split.

Held-out words never stand in a training constraint. They do occur in the copy exercises of pre-training
(`teacher.replay_example`), so the model knows them as words but has never been told to obey one.
"""

from typing import Final


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


TOPICS: Final[dict[str, tuple[str, ...]]] = {
    "birds": ("robin", "eagle", "owl", "swan", "crow", "heron", "finch", "dove"),
    "fruits": ("apple", "pear", "plum", "grape", "lemon", "mango", "peach", "cherry"),
    "colors": ("red", "blue", "green", "yellow", "purple", "orange", "brown", "white"),
    "tools": ("hammer", "saw", "drill", "wrench", "chisel", "pliers", "file", "axe"),
    "metals": ("iron", "copper", "silver", "gold", "tin", "zinc", "lead", "nickel"),
    "trees": ("oak", "pine", "maple", "birch", "willow", "cedar", "elm", "ash"),
    "drinks": ("water", "tea", "coffee", "milk", "juice", "cocoa", "soda", "cider"),
    "sports": ("tennis", "soccer", "golf", "rugby", "hockey", "boxing", "rowing", "judo"),
    "pets": ("dog", "cat", "rabbit", "hamster", "parrot", "turtle", "goldfish", "pony"),
    "rooms": ("kitchen", "bedroom", "attic", "cellar", "hall", "study", "garage", "pantry"),
    "planets": ("mercury", "venus", "earth", "mars", "jupiter", "saturn", "uranus", "neptune"),
    "fabrics": ("cotton", "wool", "silk", "linen", "denim", "velvet", "satin", "lace"),
}
COUNTS: Final[dict[int, str]] = {2: "two", 3: "three", 4: "four", 5: "five"}
NOTHING: Final = "none"
NUMBER_WORDS: Final = (NOTHING, "one", "two", "three", "four", "five", "six", "seven", "eight")

# Arguments of constraints; each split draws its held-out half from its own bank, training from `train` alone.
KEYWORDS: Final[dict[str, tuple[str, ...]]] = {
    "train": _words(
        "cradle harbor window candle bridge meadow pocket ladder mirror basket button carpet blanket engine feather "
        "garden hammock island jacket kettle lantern magnet needle ocean pillow quartz ribbon shadow tunnel umbrella "
        "village wagon anchor barrel canyon desert forest glacier helmet insect jungle kernel bottle castle diamond "
        "elbow ferry goblet hinge icicle jewel kite lemonade mitten napkin orchard pebble raft sandal teapot jar vase "
        "walnut yarn anvil beacon cabin dagger envelope flute"
    ),
    "dev": _words("locket marble nectar oyster paddle quiver rocket saddle temple valley"),
    "test": _words("whistle zipper acorn bamboo cactus dragon ember fountain gravel hazel iceberg jigsaw"),
}
FIRST_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "train": _words(
        "today often surely maybe indeed clearly gladly sometimes usually here now once quickly slowly calmly bravely "
        "kindly simply really finally early later daily yearly happily sadly nearly hardly rarely quietly loudly "
        "boldly firmly warmly neatly proudly"
    ),
    "dev": _words("perhaps lately always softly brightly"),
    "test": _words("truly mostly again still gently deeply"),
}
# Pre-training alone asks for more words than the training prompts do, so that what it learns is not about these few.
_MANY: Final = (*KEYWORDS["train"], *FIRST_WORDS["train"], *(item for items in TOPICS.values() for item in items))
KEYWORDS["many"] = FIRST_WORDS["many"] = _MANY
_OPENINGS: Final = (
    "good day",
    "have fun",
    "see you",
    "take care",
    "best wishes",
    "all done",
    "stay safe",
    "sleep well",
    "thank you",
    "safe travels",
    "keep going",
    "so long",
    "many thanks",
    "well done",
    "until then",
    "rest well",
)
_CLOSINGS: Final = ("", "friend", "soon", "everyone", "neighbor", "traveler", "for now")
_PHRASES: Final = tuple(f"{opening} {closing}".strip() for closing in _CLOSINGS for opening in _OPENINGS)
# Phrases of the same words: a held-out one is an unseen combination.
END_PHRASES: Final[dict[str, tuple[str, ...]]] = {
    "train": tuple(phrase for place, phrase in enumerate(_PHRASES) if place % 9 < 7),
    "dev": _PHRASES[7::9],
    "test": _PHRASES[8::9],
}
END_PHRASES["many"] = END_PHRASES["train"]
# Choices that no constraint cares about: two right answers to one prompt may read differently.
SUBJECTS: Final = _words("we you they people some many")
VERBS: Final = _words("like know want choose see love")
LINKERS: Final = _words("also then plus")  # "Also cradle."
POINTERS: Final = _words("open visit read")  # "Open [link]."
GREETINGS: Final = _words("thanks bye cheers")  # "P.S. Thanks."
CLOSERS: Final = _words("fine nice great")  # "Nice.", what stands in a second paragraph or part
FIXED_WORDS: Final = _words("name and in more link part of items word twice ending first avoid met missed")


def all_words() -> tuple[str, ...]:
    """Every lower-case word of the world, sorted: topics, items, arguments of all splits, fixed words."""
    words: set[str] = set(FIXED_WORDS) | set(NUMBER_WORDS) | set(TOPICS)
    for choices in (SUBJECTS, VERBS, LINKERS, POINTERS, GREETINGS, CLOSERS):
        words.update(choices)
    for items in TOPICS.values():
        words.update(items)
    for bank in (KEYWORDS, FIRST_WORDS, END_PHRASES):
        for entries in bank.values():
            for entry in entries:
                words.update(entry.split())
    return tuple(sorted(words))
