"""What the figures of a student show, in words, for whoever shows them without drawing them."""

from __future__ import annotations

KINDS = {
    "pca": "Tokens in the teacher's first three principal components as colours: the cloud, the teacher's, the student's",
    "groups": "Tokens by the SuperToken or merged row that stands for them; grey stands alone",
    "gate": "The gate's probability, what it keeps at some thresholds, and how many rows run over the threshold",
    "errors": "Squared error of every token as a share of the variance of the teacher's tokens",
    "entropy": "Entropy of attention by layer, of the teacher and of the student",
}
"""Name of the file -> what it shows."""
