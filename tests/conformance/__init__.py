"""One suite for every cloud: the simulator by default, a real one when OS_CLOUD names it."""
