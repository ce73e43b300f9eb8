"""What somebody sends to show that it is them: a code, a recovery code, a passkey's answer."""

from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from services.gateway.identity.methods import ProofKind
from services.gateway.identity.recovery import MAX_LENGTH

Code = Annotated[
    str,
    Field(pattern=r"^[0-9]{6}$", description="Of the authenticator app.", examples=["492039"]),
]
Answer = Annotated[
    dict[str, JsonValue],
    Field(description="What `navigator.credentials` gave, as its `toJSON()` writes it."),
]


class Proof(BaseModel):
    """One second factor."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    ways: ClassVar[tuple[str, ...]] = ("code", "recovery_code", "passkey")

    code: Code | None = None
    recovery_code: str | None = Field(
        default=None, min_length=1, max_length=MAX_LENGTH, examples=["mzxw-6ytb-oi2d-kmrq"]
    )
    passkey: Answer | None = None

    @model_validator(mode="after")
    def _one_way(self) -> "Proof":
        if sum(getattr(self, way) is not None for way in self.ways) != 1:
            raise ValueError(f"send exactly one of {', '.join(self.ways)}")
        return self

    @property
    def kind(self) -> ProofKind:
        """What it is."""
        if self.recovery_code is not None:
            return "recovery_code"
        return "passkey" if self.passkey is not None else "totp"
