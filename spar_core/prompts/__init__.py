"""The texts the models are asked with: package data, replaceable by a folder of the user's own."""

from spar_core.prompts.library import PromptLibrary, shipped_prompt_sets

__all__ = ["PromptLibrary", "shipped_prompt_sets"]
