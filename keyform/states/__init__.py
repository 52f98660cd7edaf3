"""State backends, one file each. They move bytes and know nothing of what is in them."""
