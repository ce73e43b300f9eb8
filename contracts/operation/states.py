"""How far an operation has come."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from contracts.errors import ErrorCode


class OperationState(StrEnum):
    """Every operation ends in one of the last three."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINAL = frozenset({OperationState.SUCCEEDED, OperationState.FAILED, OperationState.CANCELLED})


class OperationError(BaseModel):
    """Why an operation failed or is not through yet."""

    model_config = ConfigDict(frozen=True)

    code: ErrorCode
    detail: str = Field(description="What happened, in the cloud's words where it gave any.")
