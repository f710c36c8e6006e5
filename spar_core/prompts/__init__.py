"""The texts the models are asked with: package data, replaceable by a folder of the user's own."""

from spar_core.prompts.format import Markers, PromptFormat, VerdictForm
from spar_core.prompts.library import PromptLibrary, shipped_prompt_sets

__all__ = ["Markers", "PromptFormat", "PromptLibrary", "VerdictForm", "shipped_prompt_sets"]
