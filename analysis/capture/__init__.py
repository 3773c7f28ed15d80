"""What the model attends to: attention rows of a running model, and of whole datasets.

record            attention rows of every forward pass in a context, by reducer
ClsRow, LastRow, TextMean   ... of the CLS token of the encoder, of the last prompt token, of the text after the image
MeanReceived, ImageRows     ... what each visual token receives from the others, in the encoder, in the language model
Entropy, FullMap            ... entropy of the visual tokens' own attention, the whole map of a layer
TopK                        ... the largest weights of another reducer, and where they are
source_label      what a reducer keeps of a model, in words: windows put in order, patches merged into tokens
capture_dataset   all that for every sample, into a Zarr store that survives a kill
Pictures          samples of a folder of pictures and a file of prompts
open_dump         such a store as an xarray.Dataset
open_dumps        ... of images with different grids, as an xarray.DataTree with a dataset for each grid
"""

from __future__ import annotations

from .dataset import capture_dataset as capture_dataset
from .encoder_pass import source_label as source_label
from .named import REDUCERS as REDUCERS
from .named import default_reducers as default_reducers
from .named import named_reducers as named_reducers
from .named import vision_reducer as vision_reducer
from .pictures import Pictures as Pictures
from .reader import open_dump as open_dump
from .reader import open_dumps as open_dumps
from .record import Log as Log
from .record import record as record
from .reducers import AbstractReducer as AbstractReducer
from .reducers import ClsRow as ClsRow
from .reducers import LastRow as LastRow
from .reducers import TextMean as TextMean
from .reducers import TopK as TopK
from .streamed import AbstractStreamed as AbstractStreamed
from .streamed import Entropy as Entropy
from .streamed import FullMap as FullMap
from .streamed import ImageRows as ImageRows
from .streamed import MeanReceived as MeanReceived
