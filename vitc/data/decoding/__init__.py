"""From the bytes of a file to pixels, whatever the bytes are."""
