"""The command line of the floor, one command group a file; heavy imports wait until a command needs them."""
