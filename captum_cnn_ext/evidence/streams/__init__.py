"""One pass over a data set of any size: batches in, a bounded state out, resumed exactly.

Open ``stream_job.py`` first; what a job keeps is in ``patches`` and ``records``.
"""
