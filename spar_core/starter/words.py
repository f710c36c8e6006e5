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
NUMBER_WORDS: Final = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight")

# Arguments of constraints; each split draws its held-out half from its own bank, training from `train` alone.
KEYWORDS: Final[dict[str, tuple[str, ...]]] = {
    "train": _words(
        "cradle harbor window candle bridge meadow pocket ladder mirror basket button carpet blanket engine feather "
        "garden hammock island jacket kettle lantern magnet needle ocean pillow quartz ribbon shadow tunnel umbrella "
        "village wagon anchor barrel canyon desert forest glacier helmet insect jungle kernel"
    ),
    "dev": _words("locket marble nectar oyster paddle quiver rocket saddle temple valley"),
    "test": _words("whistle zipper acorn bamboo cactus dragon ember fountain gravel hazel iceberg jigsaw"),
}
FIRST_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "train": _words("today often surely maybe indeed clearly gladly sometimes usually here now once"),
    "dev": _words("perhaps lately always"),
    "test": _words("truly mostly again still"),
}
END_PHRASES: Final[dict[str, tuple[str, ...]]] = {
    "train": (
        "good day friend",
        "have fun",
        "see you soon",
        "that is all",
        "take care",
        "best wishes",
        "until next time",
        "keep it simple",
        "stay safe",
        "hope this helps",
        "all done",
        "enjoy the rest",
        "good luck",
        "make it count",
        "sleep well",
        "thank you friend",
        "safe travels",
        "nothing more",
    ),
    "dev": ("stay well friend", "all the best", "good fun", "see it soon"),
    "test": ("have some rest", "take it simple", "good night", "best of luck", "keep well"),
}
FIXED_WORDS: Final = (
    "name",
    "we",
    "like",
    "and",
    "also",
    "thanks",
    "items",
    "word",
    "ending",
    "first",
    "avoid",
    "met",
    "missed",
)


def all_words() -> tuple[str, ...]:
    """Every lower-case word of the world, sorted: topics, items, arguments of all splits, fixed words."""
    words: set[str] = set(FIXED_WORDS) | set(NUMBER_WORDS) | set(TOPICS)
    for items in TOPICS.values():
        words.update(items)
    for bank in (KEYWORDS, FIRST_WORDS, END_PHRASES):
        for entries in bank.values():
            for entry in entries:
                words.update(entry.split())
    return tuple(sorted(words))
