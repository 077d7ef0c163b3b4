"""Logged data: the record, the catalog, the readers and writers, and the recorder."""
