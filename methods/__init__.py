"""One file per compression method. Installed as ``foundry_bench.methods``."""
