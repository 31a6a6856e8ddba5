"""Readers of the official data sets in the layouts that their own code reads; the user fetches the files.

All of them give z up, centre and scale each cloud to the unit sphere, and keep the official split as ``splits["official"]``.
"""
