"""Our own copies of the log outside the service, in a folder or in S3, and the log held against them.

compare.py      The log held against its witness: the walk of `audit.log.verify` with checkpoints that the log's
                keeper cannot change.
copying.py      Copying the log to its witness: tiles first, the signed checkpoint last.
store.py        A witness: a place outside the log that keeps what the log once said, so that it cannot say
                otherwise later. Pure.
store_local.py  A witness in a folder: the embedded default.
store_s3.py     A witness in an S3 bucket with Object Lock in compliance mode.
"""
