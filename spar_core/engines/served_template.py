"""What of a model folder's chat template a server started for it must be told, and those who read its answers know."""

import logging
from pathlib import Path
from typing import NamedTuple

from spar_core.engines.chat_format import ChatFormat
from spar_core.engines.configuration import VllmEngineConfig
from spar_core.engines.thoughts import ThoughtRules
from spar_core.errors import EngineError

_LOG = logging.getLogger(__name__)
_OTHERWISE = frozenset(("--chat-template", "--tokenizer-mode"))  # arguments with which chats are laid out otherwise


class ServedTemplate(NamedTuple):
    """`rules`: how its answers are taken apart; `template`: what replaces the folder's own (None: nothing)."""

    rules: ThoughtRules
    template: str | None


def served_template(folder: Path, config: VllmEngineConfig) -> ServedTemplate:
    """A template that writes today's date is replaced by one that writes always the same (`TEMPLATE_DATE`).

    So is one instead of which the configuration names another. A folder whose template cannot be read here, is replaced
    by an argument, or not used (Mistral's own tokenizer, which lays out chats itself), is served as it is.

    Raises:
        EngineError: another template is asked for, and cannot be used.
    """
    rules = config.rules()
    flags = {argument.partition("=")[0].replace("_", "-") for argument in config.extra_args}
    if flags & _OTHERWISE or (folder / "tekken.json").exists():
        if config.chat_template is not None:
            raise EngineError(
                f"the model in {folder} is to have another chat template, but its chats are laid out by an argument of "
                "the server or by Mistral's own tokenizer: leave engine.chat_template out"
            )
        return ServedTemplate(rules, None)
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        chat = ChatFormat(tokenizer, str(folder), config)
    except Exception as error:  # vLLM reads more than transformers does, and says itself what is wrong
        if config.chat_template is not None:
            raise EngineError(f"engine.chat_template cannot be used for the model in {folder}: {error}") from error
        _LOG.info("the chat template in %s is left as it is: it cannot be read here (%s)", folder, error)
        return ServedTemplate(rules, None)
    if chat.hides_tags and config.thoughts != "none" and "--reasoning-parser" not in flags:
        _LOG.warning(
            "vLLM leaves the thought tags of the model in %s out of its texts, so that thoughts cannot be told from "
            'answers: add its parser to engine.extra_args, such as ["--reasoning-parser", "mistral"]',
            folder,
        )
    splits = "--reasoning-parser" in flags  # the server itself
    other = chat.template if chat.template != chat.own_template else None
    return ServedTemplate(rules if splits else chat.rules, other)
