"""Readers of file formats: images, photos, archives, tables and word vectors."""
