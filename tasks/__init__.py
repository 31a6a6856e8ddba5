"""One file per downstream task. Installed as ``foundry_bench.tasks``."""
