"""The command line, `casevault`.

commands/      The commands, a module for each group of them.
demo/          `casevault demo`: the life of one real bundle against the real service, every step checked.
doctor/        `casevault doctor`: what is wrong here, and what to do.
transfer/      How a file is sent: over tus, in parallel, or through an upload link.
__main__.py    `python -m intake_api.cli`: the program, where its script is not on the path.
cli_errors.py  What the command line says when something went wrong: one line for a person, and an exit code.
client.py      Talking to the service: HTTPS only, certificates always checked, the service's problems as one line.
connection.py  From options and environment to a `Client`: which server, which CA, whose token, which keys.
local_log.py   The log in a state folder on this machine, without asking the service: for administrators, and for
               copies of a log.
main.py        `casevault`: the whole program, and how it ends.
options.py     How commands are made: their help for a person, and the options that several of them share.
output.py      Where `-o` leads: the one writer of every command that keeps its answer in a file.
printing.py    What a command prints: for a person a table or a few lines, for a script one JSON document.
progress.py    How far a transfer is, on stderr: a bar with rate and time left on a terminal, silence in a pipe.
public_log.py  Checking the log as somebody who does not trust the service: with the pinned key, from the tiles
               alone (P3).
reference.py   docs/cli.md: every command's help, as the program prints it. `python -m intake_api.cli.reference`
               writes it.
tokens.py      Where the bearer token comes from. A token is never shown, logged or written to a file.
"""
