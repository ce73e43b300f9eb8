"""E-mail addresses: checked for their form, and folded so that one person has one account."""

from typing import Annotated

from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email
from pydantic import AfterValidator, Field

# Companies have such domains; the library's documentation has this way to allow them.
if "local" in SPECIAL_USE_DOMAIN_NAMES:
    SPECIAL_USE_DOMAIN_NAMES.remove("local")


def _well_formed(text: str) -> str:
    """The address in its normal form; private domains are addresses, too."""
    try:
        found = validate_email(text, check_deliverability=False, globally_deliverable=False)
    except EmailNotValidError as error:
        raise ValueError(str(error)) from error
    return found.normalized


def folded(email: str) -> str:
    """By what an address is found: capitals make no other account."""
    return email.casefold()


Email = Annotated[
    str, Field(max_length=254, examples=["ada@example.org"]), AfterValidator(_well_formed)
]
