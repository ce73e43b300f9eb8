"""The catalog of an account: what VMs can be made of. Only sync says it."""
