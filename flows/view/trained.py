"""Which models were trained on a row: asked by the pages of everything that models learn from."""

from flows.view.reader import Reader, Rows
from storage.views import TRAININGS

_MODEL = "DISTINCT m.role, m.version, m.run_id, m.iteration"
_TRAINED = (
    "JOIN lineage l ON l.child_kind = 'artifact' AND l.parent_id = {key} "
    f"JOIN {TRAININGS} t ON t.stage_key = l.child_id JOIN models m USING (role, version)"
)


def trained_on_artifact(reader: Reader, stage_key: str) -> Rows:
    """The models that were trained on an artifact's rows: role, version, run and iteration."""
    joined = _TRAINED.format(key="a.stage_key")
    return reader.rows(f"SELECT {_MODEL} FROM artifacts a {joined} WHERE a.stage_key = ? ORDER BY ALL", [stage_key])


def trained_on_prompt(reader: Reader, prompt_id: str) -> Rows:
    """The models that were trained on a prompt, or on pairs or examples made of it."""
    joined = _TRAINED.format(key="r.stage_key")
    parts = [
        f"SELECT {_MODEL} FROM {table} r {joined} WHERE r.prompt_id = ?"
        for table in ("prompts", "preference_pairs", "judge_pairs", "refiner_examples")
    ]
    return reader.rows(f"{' UNION '.join(parts)} ORDER BY ALL", [prompt_id] * len(parts))
