"""Action distributions and the networks that produce them."""
