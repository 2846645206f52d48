"""An S3 whose listing costs next to nothing, so that what is measured is the client: objects in memory, one process.

It answers botocore, s3fs and obstore as Amazon S3 does for a bucket that nobody has configured: ListObjectsV2 by bytes
of keys, conditions on every write and delete, per-key results. It believes any credentials.

`python -m benchmarks.s3 PORT [--rows N] [--orphans N] [--latency-ms N] [--versioned]`: with rows the bucket holds
the objects of so many XComs. One that is versioned says so of itself and of each delete, and keeps nothing all the
same. `POST /__reset__` brings back what there was at the start.
"""
