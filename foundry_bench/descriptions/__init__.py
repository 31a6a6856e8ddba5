"""What is known of plugins without importing them: described once in a process of their own, and kept."""
