"""What sync counts."""

from prometheus_client import Counter, Gauge, Histogram

SWEEPS = Counter("hostler_sync_sweeps", "Sweeps of accounts.", ["account", "kind", "outcome"])
SWEEP_SECONDS = Histogram("hostler_sync_sweep_seconds", "How long they took.", ["account", "kind"])
SERVERS = Counter("hostler_sync_servers_seen", "Servers in answers, Hostler's own.", ["account"])
CHANGES = Counter("hostler_sync_changes", "Changes said.", ["account", "origin"])
LOOKS = Counter("hostler_sync_looks", "Looks at single servers.", ["account", "outcome"])
SURPLUS = Counter("hostler_sync_surplus_servers", "Second servers of one VM seen.", ["account"])
LAG = Gauge("hostler_sync_lag_seconds", "Age of the last complete sweep.", ["account"])
WATCHES = Gauge("hostler_sync_watches", "Operations that VMs are watched for.", ["account"])
CATALOGS = Counter(
    "hostler_sync_catalogs", "Listings of what accounts offer.", ["account", "outcome"]
)
