"""Lists an account's servers: unread where the driver can, and each page asked for ahead."""

from collections.abc import AsyncGenerator
from datetime import datetime

from drivers.base import Fingerprints, Glanced, Glances, Looked
from services.sync.ahead import ahead
from services.sync.watching import Watching


def listed(
    watching: Watching, since: datetime | None, known: Fingerprints
) -> AsyncGenerator[Looked | Glanced]:
    """The pages of what changed at or after `since`; of everything, if None."""
    driver = watching.driver()
    if isinstance(driver, Glances):
        return ahead(driver.glance(since, known))
    return ahead(driver.sweep(since))
