"""Everything goes wrong at once, by a seed, and at the end the books have to balance."""
