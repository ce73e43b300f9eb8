"""OpenStack by openstacksdk: Nova from microversion 2.79 (Train, 2019), Glance v2, Neutron v2."""
