"""Virtual machines: what they are, what may be asked of them and what happens to them."""
