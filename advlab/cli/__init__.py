"""The front end: argv and YAML become validated configurations; nothing here imports torch before
it must."""
