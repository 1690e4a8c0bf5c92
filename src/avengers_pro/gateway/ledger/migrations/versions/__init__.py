"""One module a step; ``down_revision`` orders them."""
