"""Witnesses (C2SP tlog-witness): ours cosigned by others, and others' cosigned by us.

client.py       Collecting cosignatures: our newest checkpoint is sent to witnesses that others run (C2SP tlog-
                witness).
cosignature.py  Cosignatures (C2SP tlog-cosignature): a witness's word that it saw this checkpoint extend all
                before. Pure.
server.py       A witness for others' logs (C2SP tlog-witness): it cosigns a checkpoint that extends the last one it
                cosigned. Pure.
"""
