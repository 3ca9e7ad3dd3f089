"""The command line: argv and YAML become validated configurations. Imports torch only for a run."""
