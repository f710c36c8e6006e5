"""A vote's verdict as a continuation: the line is begun for the model, which chooses between the two words.

Its text, without a verdict line of its own, stands as the turn that goes on with "Final verdict:". Engines in process
and vLLM are held to the choice; what another server writes there is read as any vote is. A vote that is nothing but a
thought, cut before it said anything, stays unreadable.
"""

from typing import NamedTuple

from spar_core.engines.base import Completion, Engine, Sampling
from spar_core.prompts.format import VerdictForm
from spar_core.records import Message, Verdict
from spar_core.roles.asking import ask
from spar_core.roles.verdict import parse_verdict, without_verdict

_MOST_TOKENS = 16  # where a server is not held to the choices


class Closed(NamedTuple):
    """A vote with its verdict. `failure`, `detail`: the engine refused to choose; there is no verdict then.

    Tokens are those of the choice alone.
    """

    verdict: Verdict
    critique: str
    yes_probability: float | None = None
    failure: str | None = None
    detail: str = ""
    completion_tokens: int = 0
    prompt_tokens: int = 0


async def closed(
    engine: Engine,
    messages: tuple[Message, ...],
    said: Completion,
    sampling: Sampling,
    seed: int,
    form: VerdictForm,
    *,
    soft: bool,
    prefix: str = "",
) -> Closed:
    """Ask for the verdict of one vote.

    Args:
        engine: who gave the vote.
        messages: what it was asked.
        said: its text.
        sampling: of the vote; the word is drawn with the same temperature.
        seed: of this request.
        form: labels and words of the verdict.
        soft: the likelier word is the verdict, instead of the one that is drawn.
        prefix: as in `GenerationRequest`.

    Raises:
        EngineUnavailableError: no answer after all retries.
    """
    if said.thought and not said.text.strip():  # the check itself was cut: a verdict would stand on nothing
        return Closed(Verdict.UNPARSEABLE, said.text)
    found = without_verdict(said.text, form)
    begun = f"{found}\n{form.labels[0]}:" if found.strip() else f"{form.labels[0]}:"
    words = (f" {form.yes[0]}", f" {form.no[0]}")
    held = Sampling(sampling.temperature, sampling.top_p, _MOST_TOKENS)
    asked = await ask(engine, (*messages, Message("assistant", begun)), held, seed, 1, words, prefix=prefix)
    if asked.failure:
        return Closed(Verdict.UNPARSEABLE, said.text, None, asked.failure, asked.detail)
    word, shares = asked.completions[0].text, asked.completions[0].shares
    probability = shares[0] if shares else None
    if soft and probability is not None and probability != shares[1]:
        word = words[probability < shares[1]]
    critique = f"{begun} {word.strip()}"
    verdict, written = parse_verdict(critique, "stop", form), asked.completions[0].completion_tokens
    return Closed(verdict, critique, probability, completion_tokens=written, prompt_tokens=asked.prompt_tokens)
