"""The report: one HTML page with the tables, the figures and an explorer of the kept tokens.

`ReportInput` says what goes in, `write_report` writes the page, `explorer_frame` shows the explorer in a notebook.
"""

from __future__ import annotations

from .content import ExplorerImage as ExplorerImage
from .content import ExplorerQuestion as ExplorerQuestion
from .content import OutputFile as OutputFile
from .content import Reply as Reply
from .content import ReportInput as ReportInput
from .content import Stage as Stage
from .frame import ExplorerFrame as ExplorerFrame
from .frame import explorer_frame as explorer_frame
from .render import render as render
from .render import write_report as write_report
