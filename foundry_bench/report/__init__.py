"""From records to what people read: a data frame, the leaderboard, tables and figures."""
