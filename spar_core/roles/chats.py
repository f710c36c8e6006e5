"""Answering many chats of several turns over one engine, memory flat in their number."""

from collections.abc import AsyncGenerator, Sequence

from spar_core.records import Drop, Prompt
from spar_core.roles.actor import Actor
from spar_core.roles.batches import RESPONSES_STAGE, Answered
from spar_core.roles.in_flight import Items, all_results, bounded_map


def converse_all(
    chats: Items[Sequence[Prompt]], actor: Actor, run_seed: int, *, samples: int = 1, max_requests_in_flight: int = 4096
) -> AsyncGenerator[list[Answered], None]:
    """Hold every chat `samples` times; per chat its turns with all their answers, in order.

    A turn that some sample did not answer has a drop beside the answers of the others.

    Raises:
        EngineUnavailableError: no answer after all retries.
    """

    async def hold(turns: Sequence[Prompt]) -> list[Answered]:
        held = await all_results([actor.converse(turns, run_seed, sample) for sample in range(samples)])
        answered = []
        for turn, outcomes in zip(turns, zip(*held, strict=True), strict=True):
            refused = next((outcome for outcome in outcomes if outcome.failure), None)
            drop = None
            if refused is not None and refused.failure is not None:
                drop = Drop(RESPONSES_STAGE, turn.prompt_id, refused.failure, refused.detail)
            responses = tuple(response for outcome in outcomes for response in outcome.responses)
            answered.append(Answered(turn, responses, drop))
        return answered

    return bounded_map(hold, chats, limit=max(1, max_requests_in_flight // samples), ordered=True)
