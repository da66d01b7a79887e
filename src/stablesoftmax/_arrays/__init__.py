"""What every function needs to know of arrays: dtypes, checks, views, blocks, types."""
