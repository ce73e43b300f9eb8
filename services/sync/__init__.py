"""Sync owns the truth about clouds: what every VM is, and what every account offers.

Hears: `operation.*` on `vm.events`, to know which VMs are waited for.
Says: `vm.changed.v1` and `vm.observed.v1` on `vm.events`, `vm.state.v1` on `vm.state`, and
`catalog.*.v1` on `cloud.catalog`. It only ever reads from a cloud.
"""
