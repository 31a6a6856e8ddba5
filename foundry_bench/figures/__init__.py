"""Pictures of what a student does to a cloud: its tokens, groups, gate, errors and attention."""
