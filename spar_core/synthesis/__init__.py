"""Where prompts come from: files, verifiable synthesis and taxonomy evolution; and what is dropped from them."""

from spar_core.synthesis.decontamination import Decontamination, decontaminate, read_benchmark, read_benchmarks
from spar_core.synthesis.deduplication import Deduplication, deduplicate
from spar_core.synthesis.sources import PromptRow, read_prompt_rows, seed_prompts
from spar_core.synthesis.taxonomy import Evolved, evolve
from spar_core.synthesis.verifiable import verifiable_prompt, verifiable_prompts

__all__ = [
    "Decontamination",
    "Deduplication",
    "Evolved",
    "PromptRow",
    "decontaminate",
    "deduplicate",
    "evolve",
    "read_benchmark",
    "read_benchmarks",
    "read_prompt_rows",
    "seed_prompts",
    "verifiable_prompt",
    "verifiable_prompts",
]
