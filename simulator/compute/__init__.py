"""Nova: servers and what is around them."""
