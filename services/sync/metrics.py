"""What sync counts."""

from prometheus_client import Counter, Gauge, Histogram

SWEEPS = Counter("hostler_sync_sweeps", "Sweeps of accounts.", ["account", "kind", "outcome"])
SWEEP_SECONDS = Histogram("hostler_sync_sweep_seconds", "How long they took.", ["account", "kind"])
SERVERS = Counter("hostler_sync_servers_seen", "Servers in answers, Hostler's own.", ["account"])
CHANGES = Counter("hostler_sync_changes", "Changes said.", ["account", "origin"])
LOOKS = Counter("hostler_sync_looks", "Looks at single servers.", ["account", "outcome"])
ORPHANS = Counter(
    "hostler_sync_orphans_found",
    "Orphans told: servers, ports, volumes, floating IPs that no VM has any more.",
    ["account", "kind", "reason"],
)
INVENTORIES = Counter(
    "hostler_sync_inventories", "Listings of what accounts hold.", ["account", "outcome"]
)
NOTIFICATIONS = Counter(
    "hostler_sync_notifications",
    "Nova's notifications: read, and hints that followed.",
    ["account", "outcome"],
)
LAG = Gauge("hostler_sync_lag_seconds", "Age of the last complete sweep.", ["account"])
WATCHES = Gauge("hostler_sync_watches", "Operations that VMs are watched for.", ["account"])
CATALOGS = Counter(
    "hostler_sync_catalogs", "Listings of what accounts offer.", ["account", "outcome"]
)
