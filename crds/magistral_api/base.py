"""Building blocks of the API models: camelCase on the wire, closed objects, CEL rules beside the fields they guard."""

import math
import re
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

_DURATION = r"^([0-9]+(s|m|h|d))+$"
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

Name = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
"""A DNS-1123 label."""

Digest = Annotated[str, Field(max_length=71, pattern=r"^sha256:[0-9a-f]{64}$")]
"""`sha256:` and the SHA-256 of a manifest's bytes."""

ObjectUri = Annotated[str, Field(max_length=1024, pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/.+$")]
"""`s3://bucket/key`, a key or a prefix without a trailing slash."""

Duration = Annotated[str, Field(max_length=32, pattern=_DURATION)]
"""As Kubernetes writes it: `90s`, `30m`, `12h`, `1h30m`."""

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


def finite(value: Any) -> Any:
    """The value, or None for a number that JSON has no word for."""
    try:
        return value if value is None or math.isfinite(float(value)) else None
    except (TypeError, ValueError):
        return value


def _finite_entries(metrics: Any) -> Any:
    if not isinstance(metrics, dict):
        return metrics
    return {name: value for name, value in metrics.items() if finite(value) is not None}


Metrics = Annotated[dict[str, float], BeforeValidator(_finite_entries)]
"""Named numbers. What is not finite is left out: JSON has no word for it, and one NaN must not lose a report."""

Measure = Annotated[float | None, BeforeValidator(finite)]
"""A number that may be unknown; what is not finite is unknown."""


def seconds(duration: str) -> int:
    """Seconds in a `Duration`. Raises ValueError when it is none."""
    if not re.fullmatch(_DURATION, duration):
        raise ValueError(f"{duration!r} is no duration; expected for example 90s, 30m or 12h")
    return sum(int(n) * _SECONDS[unit] for n, unit in re.findall(r"([0-9]+)([smhd])", duration))


@dataclass(frozen=True)
class Cel:
    """One `x-kubernetes-validations` rule. The message names the field and the fix."""

    rule: str
    message: str
    field_path: str | None = None

    def as_schema(self) -> dict[str, Any]:
        schema = {"rule": self.rule, "message": self.message}
        return schema | ({"fieldPath": self.field_path} if self.field_path else {})


class ApiModel(BaseModel):
    """Base of every model that crosses a process boundary.

    Unknown fields are errors, so that a misspelt field never passes in silence.
    """

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid",
        # JSON has no NaN; as a null a log-probability could not be read back.
        ser_json_inf_nan="strings")

    cel: ClassVar[tuple[Cel, ...]] = ()

    def wire(self) -> dict[str, Any]:
        """The JSON form: camelCase, nulls left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)
