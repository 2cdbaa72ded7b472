"""Hook specifications and the typed facade that alone calls them."""
