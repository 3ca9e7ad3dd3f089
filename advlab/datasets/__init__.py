"""One file per data set: pixels in memory as uint8, labels beside them."""
