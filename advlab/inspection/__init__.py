"""Views of a network: convolution filters and saliency maps."""
