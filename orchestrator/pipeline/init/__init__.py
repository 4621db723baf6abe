"""A first pipeline of the user's own: one of the examples, cut and filled in by a few answers."""
