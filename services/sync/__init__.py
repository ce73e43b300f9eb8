"""Sync owns the truth about clouds: what every VM is, and what else every account holds and offers.

Hears: `operation.*` on `vm.events`, to know which VMs are waited for.
Says: `vm.changed.v1` and `vm.observed.v1` on `vm.events`, `vm.state.v1` on `vm.state`,
`catalog.*.v1` on `cloud.catalog`, and `orphan.found.v1`, `orphan.gone.v1` and
`unmanaged.server.v1` on `cloud.inventory`. It only ever reads from a cloud.
"""
