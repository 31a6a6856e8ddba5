"""Readers of point files, one module a family of formats: a short check of the header, then the library that reads them.

Each gives the points of one file as an array of three or more columns, and raises FileError, or anything at all for a file that
its library does not take; :mod:`foundry_bench.datasets.cloud_files` is the border.
"""
