"""``advlab inspect``: predictions, filters and saliency maps."""
