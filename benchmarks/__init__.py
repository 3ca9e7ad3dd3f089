"""Timings, each script one question; run from the repository root. Not part of the package."""
