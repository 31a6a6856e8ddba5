"""Figures of a leaderboard for a paper: accuracy over cost, bars at matched cost, shares of the teacher's scores, and curves
along one trained student."""
