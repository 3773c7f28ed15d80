"""What a question costs: multiply-accumulates and cache of published and loaded models, and the papers' formulas.

cost             encoder, projector, selector, prefill, decode and head, for any number of visual tokens per layer
cost_table       the same for several budgets, with the shares saved
architecture     a published model by name (`SHIPPED`), read off the stock classes without memory for weights
formulas         the formulas of the papers, one function each
claim_table      where a published reduction of 91 % holds and where it does not

A new model is one file in `configurations` and one name in `SHIPPED`; a new family is one entry in `FAMILIES`.
"""

from __future__ import annotations

from . import formulas as formulas
from .architecture import Architecture as Architecture
from .architecture import Block as Block
from .architecture import Encoding as Encoding
from .claim import claim_table as claim_table
from .claim import published_latency_reduction as published_latency_reduction
from .count import DTYPES as DTYPES
from .count import PARTS as PARTS
from .count import Cost as Cost
from .count import cost as cost
from .count import cost_table as cost_table
from .count import dropped_after as dropped_after
from .count import summary as summary
from .models import FAMILIES as FAMILIES
from .models import SHIPPED as SHIPPED
from .models import architecture as architecture
from .models import configuration as configuration
from .models import of_vlm as of_vlm
from .selectors import SELECTORS as SELECTORS
from .selectors import selector as selector
