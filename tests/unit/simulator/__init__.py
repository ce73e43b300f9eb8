"""The simulated cloud, by its parts and through its door."""
