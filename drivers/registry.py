"""Which driver serves which kind of cloud; a driver is imported when it is asked for."""

from importlib import import_module

from drivers.base import Driver

DRIVERS = {"openstack": "drivers.openstack.driver:OpenStackDriver"}


def require(kind: str) -> None:
    """Import what serves a kind: a second or two, better spent at the start than on a call's time.

    ValueError for a kind that no driver serves, naming the known ones.
    """
    if kind not in DRIVERS:
        known = ", ".join(sorted(DRIVERS))
        raise ValueError(f"HOSTLER_DRIVER: no driver for {kind!r}; known: {known}")
    import_module(DRIVERS[kind].partition(":")[0])


def driver(kind: str, account: str) -> Driver:
    """The driver for one account (for OpenStack: a clouds.yaml entry).

    ValueError for an unknown kind, naming the known ones.
    """
    require(kind)
    module, _, name = DRIVERS[kind].partition(":")
    made = getattr(import_module(module), name)(account)
    if not isinstance(made, Driver):
        raise TypeError(f"{DRIVERS[kind]} is not a Driver")
    return made
