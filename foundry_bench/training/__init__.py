"""Training: one loop, budgets, distillation, experts, fine-tuning and pre-training."""
