"""Random transformations of image batches, drawn anew for each image, all images at once."""
