"""What all configuration classes share: frozen, closed to unknown keys, documented field by field."""

from pydantic import BaseModel, ConfigDict


class FrozenConfig(BaseModel):
    """Immutable configuration; an unknown key is an error, a field's docstring is its description."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        validate_default=True,
        hide_input_in_errors=True,  # a value may be a secret in the wrong place
    )
