"""Networks from images to features, a file each: what contrastive learning trains."""
