"""Students: their bases, what they share, and their folders on disk."""
