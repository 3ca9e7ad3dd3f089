"""Random transformations of batches of images, drawn anew for each image."""
