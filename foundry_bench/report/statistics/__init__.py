"""Chance in scores: what clusters of objects and random starts do to a mean, paired tests, and ranks made of them."""
