"""Runs: folders, life-cycle, identity, results and reports."""
