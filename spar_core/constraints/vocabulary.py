"""Words and phrases that arguments are drawn from when a prompt is synthesised."""

_KEYWORD_TEXT = """
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

KEYWORDS: tuple[str, ...] = tuple(_KEYWORD_TEXT.split())

END_PHRASES: tuple[str, ...] = (
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
)

FIRST_WORDS: tuple[str, ...] = (
    "although",
    "because",
    "consider",
    "every",
    "finally",
    "first",
    "however",
    "imagine",
    "meanwhile",
    "next",
    "often",
    "perhaps",
    "remember",
    "several",
    "sometimes",
    "today",
    "together",
    "while",
)

SECTION_SPLITTERS: tuple[str, ...] = ("Section", "SECTION", "PARAGRAPH", "Part", "Day", "Chapter", "Step")

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
