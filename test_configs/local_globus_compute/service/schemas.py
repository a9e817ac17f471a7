"""Bodies that the routes take."""
from __future__ import annotations

from typing import Annotated, Any, TypeVar
from uuid import UUID

import pydantic

from .errors import ApiError, malformed

NonEmpty = Annotated[str, pydantic.StringConstraints(min_length=1)]
Payloads = Annotated[list[NonEmpty], pydantic.Field(min_length=1)]


class Submission(pydantic.BaseModel):
    """POST /v3/endpoints/{id}/submit"""

    tasks: Annotated[dict[UUID, Payloads], pydantic.Field(min_length=1)]
    create_queue: bool = False
    task_group_id: UUID | None = None
    resource_specification: dict[str, Any] | None = None
    user_endpoint_config: dict[str, Any] | None = None
    user_runtime: dict[str, Any] | None = None
    result_serializers: list[str] | None = None


class FunctionRegistration(pydantic.BaseModel):
    """POST /v3/functions"""

    model_config = pydantic.ConfigDict(extra="allow")

    function_name: NonEmpty
    function_code: NonEmpty
    serialized: bool = True
    public: bool = False
    meta: dict[str, Any] | None = None


class EndpointRegistration(pydantic.BaseModel):
    """POST /v3/endpoints, PUT /v3/endpoints/{id}"""

    model_config = pydantic.ConfigDict(extra="allow")

    endpoint_name: NonEmpty
    display_name: str | None = None
    multi_user: bool = False
    metadata: dict[str, Any] | None = None
    allowed_functions: list[UUID] | None = None


class TaskIds(pydantic.BaseModel):
    """POST /v2/batch_status"""

    task_ids: list[UUID]


Model = TypeVar("Model", bound=pydantic.BaseModel)


def parse(model: type[Model], body: bytes) -> Model:
    """Read a JSON body; raises :class:`ApiError` 400 when it is not JSON, 422 naming what is wrong in it."""
    try:
        return model.model_validate_json(body)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        if first["type"] == "json_invalid":
            raise malformed(f"The body is not JSON: {first['msg']}") from None
        where = ".".join(str(part) for part in first["loc"]) or "body"
        raise ApiError(422, malformed("").code, f"{where}: {first['msg']}") from None


def parse_uuid(text: str, what: str) -> str:
    """Canonical form of a UUID in a path; raises :class:`ApiError` 400."""
    try:
        return str(UUID(text))
    except ValueError:
        raise malformed(f"{what} is not a UUID: {text[:100]!r}") from None
