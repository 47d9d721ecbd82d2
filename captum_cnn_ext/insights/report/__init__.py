"""The audit report: what it is made of, how it runs, and how it is saved.

`audit` judges the arguments and runs the sections on one `section.AuditContext`; each section
(`section`) gives `blocks`; `result` saves them as one HTML `page` with a `manifest` beside it.
Begin with `audit`.
"""
