"""What all configuration classes share: frozen, closed to unknown keys, documented field by field."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer, model_validator


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


class GrownConfig(FrozenConfig):
    """One whose `later` keys count only where they are used: what was computed before them keeps its stage key."""

    later: ClassVar[tuple[str, ...]] = ()
    """Keys that are left out of the plain values where they have their defaults."""

    @model_serializer(mode="wrap")
    def _without_unused(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        fields = type(self).model_fields
        unused = {name for name in self.later if values.get(name) == fields[name].default}
        return {name: value for name, value in values.items() if name not in unused}
