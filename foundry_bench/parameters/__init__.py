"""The parameters of plugins: how their values are written, and which values the annotation of a field takes."""
