"""Many VMs in the gateway's read model, written past Hostler: only reads are measured on them."""

import psycopg

from bench.bench import database_url
from deploy.local.postgres import dsn
from deploy.local.stack import PROJECT, Stack

_FILL = """
INSERT INTO gateway.vms (id, project_id, account, name, folded_name, description, state, flavor,
  image, server_id, addresses, metadata, tags, security_groups, operations, version, revision,
  created_at, updated_at, observed_at)
SELECT gen_random_uuid(), %(project)s, 'simulator', 'vm-' || n, 'vm-' || n, NULL,
  CASE WHEN n %% 10 = 0 THEN 'stopped' ELSE 'active' END, 'm1.nano',
  '00000000-0000-0000-0000-000000000001', 'seed-' || gen_random_uuid(),
  jsonb_build_array(jsonb_build_object('network', 'private', 'address', '10.0.0.7', 'version', 4,
    'kind', 'fixed', 'mac', NULL)),
  '{"role": "web"}', '["web"]', '["default"]', 1, 3, 5,
  now() - n * interval '1 second', now() - n * interval '1 second', now()
FROM generate_series(1, %(count)s) AS n
"""


def fill_read_model(stack: Stack, count: int) -> None:
    """Add `count` VMs to the project `demo`."""
    with psycopg.connect(dsn(database_url(stack)), autocommit=True) as connection:
        connection.execute(_FILL.encode(), {"project": PROJECT, "count": count})
        connection.execute(b"ANALYZE gateway.vms")
