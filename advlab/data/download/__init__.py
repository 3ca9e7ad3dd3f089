"""Downloads: mirrors, checksums, resumption and unpacking."""
