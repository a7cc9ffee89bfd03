"""Export the contract's rows to Parquet files, by ranges of change numbers.

:mod:`analytics.export.run` exports one range after the other; each is complete once its manifest is there.
:mod:`analytics.export.columns` says how a table is read and which types its columns get,
:mod:`analytics.export.snapshot` reads it, and :mod:`analytics.export.destination` writes files to a folder or to S3.
Except for the errors, all of it needs the extra ``export``.
"""
