"""What attention rows look like: how concentrated (dispersion), where along the sequence (shift), how alike two of them
are (agreement), how sure that is (stats, paired).

Metrics are pure functions of arrays; none opens a file or knows a model. METRICS is the whole registry.
"""

from __future__ import annotations

from .agreement import jaccard as jaccard
from .agreement import jaccard_at_k as jaccard_at_k
from .agreement import js_between as js_between
from .agreement import rank_biased_overlap as rank_biased_overlap
from .agreement import spearman as spearman
from .agreement import wasserstein_between as wasserstein_between
from .dispersion import SHARES as SHARES
from .dispersion import effective_tokens as effective_tokens
from .dispersion import entropy as entropy
from .dispersion import gini as gini
from .dispersion import mass_curve as mass_curve
from .dispersion import participation_ratio as participation_ratio
from .dispersion import spatial_spread as spatial_spread
from .dispersion import top_mass as top_mass
from .flow import attention_flow as attention_flow
from .flow import rollout as rollout
from .measure import METRICS as METRICS
from .measure import SOURCES as SOURCES
from .measure import Metric as Metric
from .measure import mass_curves as mass_curves
from .measure import measure as measure
from .measure import metric as metric
from .measure import profile as profile
from .measure import quartile_shares as quartile_shares
from .measure import summarise as summarise
from .paired import PairedTest as PairedTest
from .paired import corrected as corrected
from .paired import paired_test as paired_test
from .shift import centroid as centroid
from .shift import js_to_uniform as js_to_uniform
from .shift import mean_index as mean_index
from .shift import quartile_share as quartile_share
from .shift import slope as slope
from .shift import spearman_index as spearman_index
from .shift import wasserstein_to_uniform as wasserstein_to_uniform
from .stats import Interval as Interval
from .stats import bootstrap_interval as bootstrap_interval
