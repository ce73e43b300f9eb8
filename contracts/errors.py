"""Every way in which Hostler says no: HTTP status, whether trying again can help, one sentence."""

from dataclasses import dataclass
from enum import StrEnum


class ErrorCode(StrEnum):
    """Machine-readable reason; `MEANINGS` says what each one is."""

    BAD_REQUEST = "bad_request"
    INVALID = "invalid"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    NOT_ACCEPTABLE = "not_acceptable"
    STATE_CONFLICT = "state_conflict"
    CONFLICT = "conflict"
    IN_FLIGHT = "in_flight"
    PRECONDITION_FAILED = "precondition_failed"
    TOO_LARGE = "too_large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    KEY_REUSED = "key_reused"
    BODY_TIMEOUT = "body_timeout"
    HEADERS_TOO_LARGE = "headers_too_large"
    RATE_LIMITED = "rate_limited"
    SIGNATURE_INVALID = "signature_invalid"
    STEP_UP_REQUIRED = "step_up_required"
    FACTOR_REQUIRED = "factor_required"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"
    CLOUD_REFUSED = "cloud_refused"
    CLOUD_FAULT = "cloud_fault"
    CLOUD_UNAVAILABLE = "cloud_unavailable"
    CLOUD_BUSY = "cloud_busy"
    QUOTA = "quota"
    NO_EFFECT = "no_effect"
    NO_SERVER = "no_server"
    DEADLINE = "deadline"
    UNSUPPORTED = "unsupported"
    STALLED = "stalled"
    ABANDONED = "abandoned"
    UNREADABLE = "unreadable"
    NEVER_ARRIVED = "never_arrived"


@dataclass(frozen=True)
class Meaning:
    """What one code stands for."""

    status: int
    retryable: bool
    sentence: str


MEANINGS: dict[ErrorCode, Meaning] = {
    ErrorCode.BAD_REQUEST: Meaning(400, False, "The request cannot be read."),
    ErrorCode.INVALID: Meaning(400, False, "A field is missing, unknown or has a wrong value."),
    ErrorCode.UNAUTHENTICATED: Meaning(401, False, "Send a valid key, or log in."),
    ErrorCode.FORBIDDEN: Meaning(403, False, "The caller's role does not cover this."),
    ErrorCode.NOT_FOUND: Meaning(404, False, "There is no such thing in the caller's project."),
    ErrorCode.METHOD_NOT_ALLOWED: Meaning(405, False, "The path exists, the method does not."),
    ErrorCode.NOT_ACCEPTABLE: Meaning(406, False, "None of the accepted media types is offered."),
    ErrorCode.STATE_CONFLICT: Meaning(409, False, "The VM's state does not allow this action."),
    ErrorCode.CONFLICT: Meaning(409, False, "It is in use or has ended already."),
    ErrorCode.IN_FLIGHT: Meaning(409, True, "The first request with this key is under way."),
    ErrorCode.PRECONDITION_FAILED: Meaning(412, False, "It has changed since its ETag was read."),
    ErrorCode.TOO_LARGE: Meaning(413, False, "The body is larger than the gateway takes."),
    ErrorCode.UNSUPPORTED_MEDIA_TYPE: Meaning(415, False, "Send application/json."),
    ErrorCode.KEY_REUSED: Meaning(422, False, "The Idempotency-Key was used for another body."),
    ErrorCode.BODY_TIMEOUT: Meaning(408, True, "The body did not arrive in time."),
    ErrorCode.HEADERS_TOO_LARGE: Meaning(431, False, "Too many header fields, or too long ones."),
    ErrorCode.RATE_LIMITED: Meaning(429, True, "Too many requests; Retry-After says how long."),
    ErrorCode.SIGNATURE_INVALID: Meaning(401, False, "Sign the request: its signature is no good."),
    ErrorCode.STEP_UP_REQUIRED: Meaning(401, False, "Prove anew that it is you, then try again."),
    ErrorCode.FACTOR_REQUIRED: Meaning(403, False, "Enrol a second factor first."),
    ErrorCode.UNAVAILABLE: Meaning(503, True, "A dependency is down; try again later."),
    ErrorCode.INTERNAL: Meaning(500, False, "A bug in Hostler; the request id finds its trace."),
    ErrorCode.CLOUD_REFUSED: Meaning(502, False, "The cloud refused the request."),
    ErrorCode.CLOUD_FAULT: Meaning(502, False, "The cloud took the request and failed at it."),
    ErrorCode.CLOUD_UNAVAILABLE: Meaning(503, True, "The cloud does not answer."),
    ErrorCode.CLOUD_BUSY: Meaning(503, True, "The cloud limits the rate of requests."),
    ErrorCode.QUOTA: Meaning(409, True, "The cloud account's quota is used up."),
    ErrorCode.NO_EFFECT: Meaning(502, False, "The cloud ended the action without its effect."),
    ErrorCode.NO_SERVER: Meaning(409, False, "The VM has no server in the cloud."),
    ErrorCode.DEADLINE: Meaning(504, False, "The operation's deadline passed."),
    ErrorCode.UNSUPPORTED: Meaning(501, False, "The cloud's driver cannot do this."),
    ErrorCode.STALLED: Meaning(504, False, "The cloud took the request and never finished it."),
    ErrorCode.ABANDONED: Meaning(409, False, "An operator gave the operation up."),
    ErrorCode.UNREADABLE: Meaning(500, False, "The command cannot be read by who carries it out."),
    ErrorCode.NEVER_ARRIVED: Meaning(504, False, "The command never came to be carried out."),
}
