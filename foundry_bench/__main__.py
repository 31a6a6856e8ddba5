"""``python -m foundry_bench``: the command line where its script is not on the path."""

from foundry_bench.cli import main

main()
