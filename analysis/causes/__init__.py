"""Why attention over visual tokens looks as it does, and what a wrong choice of tokens costs in theory.

rope_decay      expected score of equal queries and keys over distance, under rotary position embedding
output_error    change of an attention output when tokens are dropped, and bounds on it
"""

from __future__ import annotations

from .output_error import OutputError as OutputError
from .output_error import output_error as output_error
from .rope import rope_decay as rope_decay
from .rope import rope_frequencies as rope_frequencies
