"""The sweep: plan cells, run what is missing, leave one record per cell on disk."""
