"""Where the teacher's images come from: one file per source of targets, chosen by the options.

:class:`srkd_plugin.distill.targets.source.TargetSource` says what a source does, and has a template of one.
"""
