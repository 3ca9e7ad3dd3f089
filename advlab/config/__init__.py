"""Options, their validation, and the YAML files that carry them. Free of torch."""
