"""What an answer has where a constraint asks for something else, and the least edit that meets it.

finding(Constraint.create("punctuation:no_comma"), "Yes, sir.")          # "1 comma; none are allowed"
repair(Constraint.create("punctuation:no_comma"), "Yes, sir.", Random(1))  # "Yes sir."

A plug-in's kind brings its own with `register(kind_id, finding, edit)`; without them `finding` names the instruction
and `repair` gives None. The kinds of IFBench have no repairs: a model must not be taught the test.
"""

# The family modules register their entries when they are imported.
from spar_core.constraints.repairs import blocks, bullets, casing, ends, lengths, marks, words
from spar_core.constraints.repairs.mending import finding, repair, repair_all
from spar_core.constraints.repairs.table import Stage, register

__all__ = [
    "Stage",
    "blocks",
    "bullets",
    "casing",
    "ends",
    "finding",
    "lengths",
    "marks",
    "register",
    "repair",
    "repair_all",
    "words",
]
