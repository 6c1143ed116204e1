"""What the floor costs and how fast it is, each figure beside a baseline of the same run. `make bench` runs all."""
