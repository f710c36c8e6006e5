"""An LLMBar folder small enough to score by hand: two instances per subset, labels 1 and 2."""

import json
from pathlib import Path

SUBSETS = ("Natural", "Adversarial/Neighbor", "Adversarial/GPTInst", "Adversarial/GPTOut", "Adversarial/Manual")


def write_llmbar(folder: Path) -> Path:
    for subset in SUBSETS:
        (folder / subset).mkdir(parents=True)
        rows = [
            {
                "input": f"wish {label}",
                "output_1": f"first of {label}",
                "output_2": f"second of {label}",
                "label": label,
            }
            for label in (1, 2)
        ]
        (folder / subset / "dataset.json").write_text(json.dumps(rows), encoding="utf-8")
    return folder
