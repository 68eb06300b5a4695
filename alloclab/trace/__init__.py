"""Traces: the schema, Parquet, validation, statistics, compilation, importers."""
