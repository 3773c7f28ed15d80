"""Why attention over visual tokens looks as it does, and what a wrong choice of tokens costs, in theory and measured.

arranged, visual_positions   other position ids for the visual tokens: equal, reversed, shuffled
replayable, last_attention   the attention layers of one forward pass again, at other ids or without some keys
keep_from_layer     the model with a part of the visual tokens hidden from one layer on
rope_decay, rope_response   expected score over distance under rotary position embedding
output_error        change of an attention output when tokens are dropped, and bounds on it
Exam                images with questions, answered again under one intervention after another

Each experiment is a pair of functions, rows of some images and the table of all: `position_effect`, `quartiles`,
`measured_error`, `usefulness`, `rope_bias`.
"""

from __future__ import annotations

from .exam import Exam as Exam
from .measured_error import error_summary as error_summary
from .measured_error import measured_errors as measured_errors
from .output_error import OutputError as OutputError
from .output_error import output_error as output_error
from .position_effect import position_rows as position_rows
from .position_effect import position_summary as position_summary
from .positions import ARRANGEMENTS as ARRANGEMENTS
from .positions import arranged as arranged
from .positions import visual_positions as visual_positions
from .quartiles import keep_from_layer as keep_from_layer
from .quartiles import quartile as quartile
from .quartiles import quartile_answers as quartile_answers
from .replay import Replay as Replay
from .replay import last_attention as last_attention
from .replay import replayable as replayable
from .rope import rope_decay as rope_decay
from .rope import rope_frequencies as rope_frequencies
from .rope import rope_response as rope_response
from .rope_bias import rope_rows as rope_rows
from .rope_bias import rope_summary as rope_summary
from .usefulness import usefulness_rows as usefulness_rows
from .usefulness import usefulness_summary as usefulness_summary
