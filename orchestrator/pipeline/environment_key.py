"""Type of a pipeline's key `environment`, with the patterns that its JSON schema has."""

from typing import Annotated, Any

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, WithJsonSchema, WrapValidator

from orchestrator.pipeline.environments import ENVIRONMENTS
from orchestrator.pipeline.pins import SCHEMA_PATTERN


def _pins(found: Any, check: ValidatorFunctionWrapHandler) -> Any:
    """Reject a wrong type in one sentence; pydantic would report a mistake for each type that is allowed."""
    try:
        return check(tuple(found) if isinstance(found, list) else found)  # here JSON's list has become Python's
    except ValidationError:
        raise ValueError("should be a list of `name==version`, the name of a set of pins, or a lock file") from None


PackagePin = Annotated[
    str,
    Field(
        json_schema_extra={
            "pattern": SCHEMA_PATTERN,
            "patternErrorMessage": "should be name==version or name, such as sympy==1.14.0",
        }
    ),
]
PinSetName = Annotated[str, WithJsonSchema({"enum": list(ENVIRONMENTS)})]
LockFile = Annotated[
    str, Field(json_schema_extra={"pattern": r"^.+\.lock\.txt$", "patternErrorMessage": "should be a file ….lock.txt"})
]
Environment = Annotated[tuple[PackagePin, ...] | LockFile | PinSetName | None, WrapValidator(_pins)]
"""List of pins, lock file or named set; None for relay's own packages."""
