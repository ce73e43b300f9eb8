"""A cloud for people without one: Keystone, Nova, Glance, Neutron and Cinder over HTTP, with faults to order.

`python -m simulator` runs it in a process of its own, on one port. It imports nothing of the rest
of the project: the project meets it as it meets any other OpenStack. What it knows of Nova was
read from a Nova 33 (2026.1); `tests/conformance` holds both to the same expectations.
"""
