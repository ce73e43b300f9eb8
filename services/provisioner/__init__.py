"""The provisioner: carries commands out on clouds.

Owns: operations, from the accepted command to its outcome, and the ledger of what was made for VMs.
Hears: `vm.commands`; of `vm.events` what sync saw (`vm.changed.v1`, `vm.observed.v1`); orphans.
Says: how operations go (`operation.*`), what was done to VMs (`vm.created.v1`, …), and
`orphan.removing.v1` and `orphan.removed.v1`.
"""
