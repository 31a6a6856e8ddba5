"""Heads: what is put on a frozen or fine-tuned encoder, and the probes of a teacher."""
