"""Models out of GGUF files: made into a plain folder once, since everything else works on folders.

The weights are those of the file, usually quantised, taken back to 16 bit: they are near the model's own, not equal to
them. `source.yaml` in the folder says so.
"""

import re
from pathlib import Path
from typing import Final, NamedTuple

import yaml

from spar_core.errors import EngineError
from spar_core.hashing import file_digest

SOURCE_FILE: Final = "source.yaml"
_QUANTISATION = re.compile(r"(?<![A-Za-z0-9])(I?Q\d[A-Z0-9_]*|BF16|F16|F32)(?![A-Za-z0-9])", re.IGNORECASE)
_INSTALL = 'pip install "spar[gguf]"'


class Source(NamedTuple):
    """Where a converted model comes from; nulls: not known. `sha256` is the file's."""

    reference: str
    file: str
    sha256: str
    quantisation: str | None = None
    licence: str | None = None
    package: str | None = None
    version: str | None = None


def convert(file: Path, folder: Path, source: Source) -> None:
    """Write the model in a GGUF file as a folder: bf16 safetensors, configuration, tokenizer with chat template.

    Needs about three times the memory of the weights in 32 bit.

    Raises:
        EngineError: the reader is not installed, or the file holds no model that transformers can read.
    """
    try:
        import gguf  # noqa: F401 - transformers reads the file through it
    except ImportError as error:
        raise EngineError(
            f"{source.reference} is a GGUF file, and their reader is not installed: {_INSTALL}"
        ) from error
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    where = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    try:
        tokenizer = AutoTokenizer.from_pretrained(**where)
        read = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    except Exception as error:
        raise EngineError(
            f"{source.reference}: transformers cannot read {file.name} ({type(error).__name__}: {error}); give the "
            "model as a folder of safetensors"
        ) from error
    config = read.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config  # a model that says it is quantised refuses to be saved
    config.dtype = torch.bfloat16
    plain = type(read)(config)
    plain.load_state_dict(read.state_dict())
    plain.tie_weights()
    plain.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / SOURCE_FILE).write_text(yaml.safe_dump(source._asdict(), sort_keys=False), encoding="utf-8")


def source_of_file(reference: str, file: Path) -> Source:
    """What a GGUF file says of itself.

    Raises:
        EngineError: it cannot be read.
    """
    try:
        digest = file_digest(file)
    except OSError as error:
        raise EngineError(f"model {reference!r}: {file} cannot be read ({error})") from error
    return Source(reference, file.name, digest, quantisation_in(file.name), _licence(file))


def quantisation_in(name: str) -> str | None:
    """`Q4_1` of `SmolLM2-135M-Instruct.Q4_1.gguf`; None where the name holds none."""
    found = _QUANTISATION.findall(name)
    return found[-1].upper() if found else None


def read_source(folder: Path) -> Source | None:
    """Where a model folder comes from, if it was converted here."""
    try:
        return Source(**yaml.safe_load((folder / SOURCE_FILE).read_text(encoding="utf-8")))
    except (OSError, TypeError, yaml.YAMLError):
        return None


def _licence(file: Path) -> str | None:
    try:
        from gguf import GGUFReader

        field = GGUFReader(file).get_field("general.license")
        return None if field is None else str(field.contents())
    except Exception:  # noqa: BLE001 - a note about the file: what it holds is judged when it is read as a model
        return None
