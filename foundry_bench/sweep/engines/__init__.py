"""Engines run the cells of a schedule; all of them run nothing but ``run_cell(spec_path) -> record_path``."""
