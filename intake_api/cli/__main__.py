"""`python -m intake_api.cli`: the program, where its script is not on the path."""

from intake_api.cli.main import main

main()
