"""What attention rows look like: how concentrated (dispersion), where along the sequence (shift), how alike two of them
are (agreement), which tokens draw attention by themselves (sinks), which heads do alike (heads), how sure that is
(stats, paired).

Metrics are pure functions of arrays; none opens a file or knows a model. METRICS is the whole registry.
"""

from __future__ import annotations

from .agreement import jaccard as jaccard
from .agreement import jaccard_at_k as jaccard_at_k
from .agreement import js_between as js_between
from .agreement import rank_biased_overlap as rank_biased_overlap
from .agreement import spearman as spearman
from .agreement import wasserstein_between as wasserstein_between
from .averages import layer_agreement as layer_agreement
from .averages import mass_curves as mass_curves
from .averages import profile as profile
from .averages import score_histogram as score_histogram
from .averages import selection_frequency as selection_frequency
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
from .heads import BEHAVIOUR as BEHAVIOUR
from .heads import cluster_heads as cluster_heads
from .heads import head_features as head_features
from .measure import METRICS as METRICS
from .measure import Metric as Metric
from .measure import measure as measure
from .measure import metric as metric
from .measure import quartile_shares as quartile_shares
from .measure import summarise as summarise
from .paired import McNemar as McNemar
from .paired import PairedTest as PairedTest
from .paired import corrected as corrected
from .paired import mcnemar as mcnemar
from .paired import paired_test as paired_test
from .shift import centroid as centroid
from .shift import js_to_uniform as js_to_uniform
from .shift import mean_index as mean_index
from .shift import quartile_share as quartile_share
from .shift import slope as slope
from .shift import spearman_index as spearman_index
from .shift import wasserstein_to_uniform as wasserstein_to_uniform
from .sinks import SINK_DIMENSIONS as SINK_DIMENSIONS
from .sinks import activation_sinks as activation_sinks
from .sinks import attention_sinks as attention_sinks
from .sinks import bimodality as bimodality
from .sinks import image_centric as image_centric
from .sinks import massive_dimensions as massive_dimensions
from .sinks import norm_sinks as norm_sinks
from .sinks import sink_share as sink_share
from .sinks import without_sinks as without_sinks
from .sources import SOURCES as SOURCES
from .stats import Interval as Interval
from .stats import bootstrap_interval as bootstrap_interval
from .stats import ratio_interval as ratio_interval
