"""What accounts hold that is no VM's. Sync says what there is, the provisioner what it removed."""
