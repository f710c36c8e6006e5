"""What all configuration classes share: frozen, closed to unknown keys, documented field by field."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class FrozenConfig(BaseModel):
    """Immutable configuration; an unknown key is an error, a field's docstring is its description."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        validate_default=True,
        hide_input_in_errors=True,  # a value may be a secret in the wrong place
    )

    @model_validator(mode="before")
    @classmethod
    def _sections_keep_the_defaults_of_their_place(cls, data: Any) -> Any:
        """A section given in part is completed by the field's default, not by that of the section's class."""
        if not isinstance(data, Mapping):
            return data
        values = dict(data)
        for name, field in cls.model_fields.items():
            if isinstance(field.default, FrozenConfig) and isinstance(values.get(name), Mapping):
                values[name] = {**field.default.model_dump(exclude_unset=True), **values[name]}
        return values
