"""What mails say. Nothing in them was written by a caller: a name could be somebody's advertisement."""

from datetime import timedelta

from services.gateway.identity.links import Purpose
from services.gateway.identity.mail import Letter


class Letters:
    """Writes them. `page`: where links lead; without one the mail tells the API's call."""

    def __init__(self, public_url: str, page: str | None) -> None:
        self._public_url = public_url
        self._page = page

    def invitation(self, to: str, token: str, lifetime: timedelta) -> Letter:
        """For somebody who has no password yet."""
        begin = f"You have an account at Hostler, {self._public_url}, once you choose a password."
        how = self._how("password", token)
        return Letter(to, "Your account at Hostler", f"{begin}\n\n{how}\n\n{_until(lifetime)}\n")

    def reset(self, to: str, token: str, lifetime: timedelta) -> Letter:
        """For somebody who has forgotten theirs."""
        begin = f"Somebody asked for a new password for your account at {self._public_url}."
        end = f"{_until(lifetime)} If it was not you, do nothing: your password is as it was."
        how = self._how("password", token)
        return Letter(to, "A new password for Hostler", f"{begin}\n\n{how}\n\n{end}\n")

    def address(self, to: str, token: str, lifetime: timedelta) -> Letter:
        """For the new address of somebody who changes theirs."""
        begin = f"This is to be the e-mail address of an account at {self._public_url}."
        how = self._how("email", token)
        return Letter(
            to, "Your e-mail address at Hostler", f"{begin}\n\n{how}\n\n{_until(lifetime)}\n"
        )

    def known(self, to: str) -> Letter:
        """For somebody who registers and has an account."""
        text = (
            f"Somebody registered with your e-mail address at {self._public_url}, where you have an "
            "account already. If you have forgotten its password, ask for a new one.\n"
        )
        return Letter(to, "You have an account at Hostler", text)

    def password_set(self, to: str) -> Letter:
        """After the password was changed."""
        text = (
            f"The password of your account at {self._public_url} was changed, and all sessions were "
            "ended. If it was not you, ask for a new password at once.\n"
        )
        return Letter(to, "Your password for Hostler was changed", text)

    def address_left(self, to: str) -> Letter:
        """For the address that is an account's no longer."""
        text = (
            f"Your account at {self._public_url} has another e-mail address now. "
            "If it was not you, tell the people who run it.\n"
        )
        return Letter(to, "Your e-mail address at Hostler was changed", text)

    def factor_added(self, to: str) -> Letter:
        """After a second factor was enrolled."""
        return self._told(
            to, "There is a new second factor", "Your account at {url} has a new second factor."
        )

    def factor_removed(self, to: str) -> Letter:
        """After one was removed."""
        return self._told(
            to,
            "A second factor was removed",
            "A second factor of your account at {url} was removed.",
        )

    def factors_reset(self, to: str) -> Letter:
        """After an admin has taken them all."""
        said = (
            "An admin has removed all second factors of your account at {url}, and ended all of its "
            "sessions. Log in with your password, and enrol a second factor anew."
        )
        return self._told(to, "Your second factors were removed", said)

    def factor_replayed(self, to: str) -> Letter:
        """After a second factor came that had been used, or of which there is a copy."""
        said = (
            "Somebody tried to prove that they are you at {url} with a second factor that had been "
            "used before: a code that somebody may have seen, or a passkey that may be a copy. It "
            "was refused."
        )
        return self._told(to, "A second factor came twice", said)

    def identity_linked(self, to: str) -> Letter:
        """After an identity at a provider was bound to an account that was there."""
        said = (
            "Your account at {url} can be used by another login from now on: a provider of "
            "identities vouched that your e-mail address is theirs who logged in there."
        )
        return self._told(to, "There is a new way into your account", said)

    def recovery_codes_made(self, to: str) -> Letter:
        """After new recovery codes took the place of those of before."""
        said = "New recovery codes were made for your account at {url}; those of before are void."
        return self._told(to, "There are new recovery codes", said)

    def recovery_code_used(self, to: str, left: int) -> Letter:
        """After a recovery code came in place of a second factor. `left`: how many there are yet."""
        said = (
            "Somebody proved that they are you with a recovery code of your account at {url}. "
            f"There are {left} left; you can have new ones made at any time."
        )
        return self._told(to, "A recovery code was used", said)

    def _told(self, to: str, subject: str, said: str) -> Letter:
        text = (
            f"{said.format(url=self._public_url)}\n\nIf it was not you, choose a new password at "
            "once, and tell the people who run it.\n"
        )
        return Letter(to, f"{subject} - Hostler", text)

    def _how(self, purpose: Purpose, token: str) -> str:
        if self._page is not None:
            return f"{self._page}#purpose={purpose}&token={token}"
        more = ', "password": "…"' if purpose == "password" else ""
        return (
            f"Send this to POST {self._public_url}/v1/auth/{purpose} (application/json):\n\n"
            f'{{"token": "{token}"{more}}}'
        )


def _until(lifetime: timedelta) -> str:
    hours = int(lifetime.total_seconds() // 3600)
    said = f"{hours // 24} days" if hours >= 48 else f"{max(hours, 1)} h"  # noqa: PLR2004
    return f"It works once, within {said}."
