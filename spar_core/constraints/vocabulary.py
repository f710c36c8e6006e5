"""Words and phrases that arguments are drawn from when a prompt is synthesised: a bank for each split, none shared."""

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

Split = Literal["train", "dev", "test"]


class Bank(NamedTuple):
    """What one split's arguments are drawn from. Numbers, letters and postscript markers are no words of a bank."""

    keywords: tuple[str, ...]
    end_phrases: tuple[str, ...]
    first_words: tuple[str, ...]
    section_splitters: tuple[str, ...]
    languages: tuple[str, ...]
    """Codes of `LANGUAGE_NAMES`."""


_TRAIN_KEYWORDS = """
    anchor autumn balance basket bridge candle canvas cedar circle climate coast compass copper courage cradle
    crystal curtain custom danger desert detail distance dragon eagle echo effort ember engine evening fabric
    falcon family feather festival flavor forest fortune fountain freedom garden gentle glacier granite gravity
    harbor harvest helmet history honest horizon island journey jungle kettle kingdom ladder lantern legend
    lesson library lighthouse lumber machine magnet marble market meadow memory mirror moment mountain museum
    mystery needle network noble notice ocean orchard orchid palace paper patience pattern pebble pepper
    petal picnic pilot planet pocket portrait powder promise puzzle quarry quiet rabbit rainbow record reform
    rhythm ribbon river rocket saddle sample sandal saturn season secret shadow shelter signal silver simple
    spirit stable station stone storm story summit sunset symbol temple theater thunder timber tomato tower
    travel treasure tunnel valley velvet village vintage violet voyage wagon walnut weather whisper window
    winter wisdom wonder yellow zebra
"""
_TRAIN_FIRST_WORDS = """
    although because consider every finally first however imagine meanwhile next often perhaps remember several
    sometimes today together while
"""
_TRAIN_LANGUAGES = "ar bn de es fa fr gu he hi ja kn ml mr ne pl ru ta te ur"
_DEV_KEYWORDS = """
    acorn almond amber arrow barrel beacon blossom bronze cabin camel chimney clover cobalt cotton cricket dawn drizzle
    feast ferry flute fossil hammock hazel hinge ivory jacket kayak lemon lilac mango
"""
_TEST_KEYWORDS = """
    alder apron attic badge bamboo basil beetle bonfire brass breeze cactus carpet cavern cello cherry cinnamon clay
    coral cottage daisy dolphin dough fiddle fjord fleece ginger gravel hollow igloo ivy jasmine kiosk lagoon latch
    linen maple moss nutmeg olive otter
"""

BANKS: Final[Mapping[Split, Bank]] = {
    "train": Bank(
        keywords=tuple(_TRAIN_KEYWORDS.split()),
        end_phrases=(
            "Is there anything else I can help with?",
            "That is all for now.",
            "I hope this answers your question.",
            "Let me know what you think.",
            "Thank you for reading.",
            "And that is the whole story.",
            "Have a wonderful day!",
            "Take it one step at a time.",
            "Any other questions?",
            "Stay curious.",
        ),
        first_words=tuple(_TRAIN_FIRST_WORDS.split()),
        section_splitters=("Section", "SECTION", "PARAGRAPH", "Part", "Day", "Chapter", "Step"),
        languages=tuple(_TRAIN_LANGUAGES.split()),
    ),
    "dev": Bank(
        keywords=tuple(_DEV_KEYWORDS.split()),
        end_phrases=("Now it is up to you.", "More soon.", "This is where I stop.", "Try it and see."),
        first_words=("early", "indeed", "instead", "later", "usually"),
        section_splitters=("Round", "Scene"),
        languages=("fi", "it", "pa", "th", "uk"),
    ),
    "test": Bank(
        keywords=tuple(_TEST_KEYWORDS.split()),
        end_phrases=(
            "Nothing more needs to be said.",
            "What do you make of it?",
            "And so I rest my case.",
            "Good luck with all of it!",
            "Let us leave it there.",
            "Tell me if anything is unclear.",
        ),
        first_words=("above", "clearly", "once", "rarely", "soon", "surely", "yesterday"),
        section_splitters=("Episode", "Lesson", "Stage"),
        languages=("bg", "ko", "pt", "sw", "vi"),
    ),
}

POSTSCRIPT_MARKERS: tuple[str, ...] = ("P.S.", "P.P.S")

LANGUAGE_NAMES: dict[str, str] = {
    "ar": "Arabic",
    "bg": "Bulgarian",
    "bn": "Bengali",
    "de": "German",
    "en": "English",
    "es": "Spanish",
    "fa": "Persian",
    "fi": "Finnish",
    "fr": "French",
    "gu": "Gujarati",
    "he": "Hebrew",
    "hi": "Hindi",
    "it": "Italian",
    "ja": "Japanese",
    "kn": "Kannada",
    "ko": "Korean",
    "ml": "Malayalam",
    "mr": "Marathi",
    "ne": "Nepali",
    "pa": "Punjabi",
    "pl": "Polish",
    "pt": "Portuguese",
    "ru": "Russian",
    "sw": "Swahili",
    "ta": "Tamil",
    "te": "Telugu",
    "th": "Thai",
    "uk": "Ukrainian",
    "ur": "Urdu",
    "vi": "Vietnamese",
}
