"""One file per attack, each on a page that reads beside its paper."""
