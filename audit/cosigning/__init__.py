"""Witnesses (C2SP tlog-witness): ours cosigned by others, and others' cosigned by us.

client.py       The client of others' witnesses (C2SP tlog-witness): sends them our newest checkpoint for cosigning.
cosignature.py  Cosignatures (C2SP tlog-cosignature): a witness's word that a checkpoint extends all it saw before.
                Pure.
server.py       A witness for others' logs (C2SP tlog-witness): its rules, and a folder of the last cosigned
                checkpoints.
"""
