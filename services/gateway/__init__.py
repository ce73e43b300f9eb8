"""The gateway owns the HTTP API: keys, what was asked (operations) and the read model of VMs.

Hears: `vm.events` and `cloud.catalog`, from which it keeps its read model.
Says: commands on `vm.commands`, and on `audit.events` who did, or was refused, what at the door.
It never talks to a cloud.
"""
