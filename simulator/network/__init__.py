"""Neutron: networks, subnets, ports and security groups."""
