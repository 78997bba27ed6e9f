"""A result in words, tables, pictures and files."""
