"""The names of the three variants, which say how a student is trained. This module imports nothing."""

OFF_THE_SHELF, FMD, EXPERT = "off-the-shelf", "fmd", "expert"
"""Without training; distilled on unlabelled clouds; trained for one task."""
VARIANTS = (OFF_THE_SHELF, FMD, EXPERT)
