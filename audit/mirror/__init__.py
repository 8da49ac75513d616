"""Our own copies of the log outside the service, in a folder or in S3, and the log compared with them.

To users, options, settings and pages a mirror is the service's witness.

compare.py      The log compared with its mirror: the walk of `audit.log.verify`, with checkpoints that the log's keeper
                cannot change.
copying.py      Copying the log to its mirror, and choosing the longest copy after a restore.
store.py        A mirror: a place outside the log that keeps its signed checkpoints and tiles. Pure.
store_local.py  A mirror in a folder: the embedded default.
store_s3.py     A mirror in an S3 bucket with Object Lock in compliance mode.
"""
