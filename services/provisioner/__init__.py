"""The provisioner: carries commands out on clouds.

Owns: operations, from the accepted command to its outcome, and which server is whose VM's.
Hears: `vm.commands`; of `vm.events` what sync saw (`vm.changed.v1`, `vm.observed.v1`).
Says: how operations go (`operation.*`) and what was done to VMs (`vm.created.v1`, …).
"""
