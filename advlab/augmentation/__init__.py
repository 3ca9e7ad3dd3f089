"""Random transformations of batches of images, drawn independently for each image."""
