"""What a cloud can do. Each driver is a stranger to the others; only provisioner and sync use them."""
