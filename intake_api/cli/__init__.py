"""The command line, `casevault`.

commands/        The commands, a module for each group of them.
demo/            `casevault demo`: the life of one real bundle against the real service, every step checked.
doctor/          `casevault doctor`: what is wrong here, and what to do.
transfer/        Sending a file: over tus, in parallel, or through an upload link.
__main__.py      `python -m intake_api.cli`: the program, for when its script is not on the path.
cli_errors.py    The command line's errors: one line for a person, and an exit code.
client.py        The client of the service: HTTPS only, certificates always checked, the service's problems in one
                 line.
connection.py    From options and environment to a `Client`: which server, which CA, whose token, which keys.
local_log.py     The log in a state folder on this machine, without asking the service: for administrators, and for
                 copies of a log.
main.py          `casevault`: the whole program, and how it ends.
options.py       How commands are made: their help for a person, and the options that several of them share.
output_file.py   Where `-o` leads: the one writer for commands that keep their output in a file.
print_tables.py  What a command prints: for a person a table or a few lines, for a script one JSON document.
progress.py      A transfer's progress on stderr: a bar with rate and time left on a terminal, silence in a pipe.
public_log.py    The log's public view, for somebody who does not trust the service: checked with the pinned key,
                 from the tiles alone (P3).
reference.py     docs/cli.md: every command's help, as the program prints it. `python -m intake_api.cli.reference`
                 writes it.
tokens.py        The sources of the bearer token. A token is never shown, logged or written to a file.
"""
