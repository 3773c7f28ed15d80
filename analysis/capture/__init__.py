"""What the model attends to: attention rows of a running model, and of whole datasets.

record            attention rows of every forward pass in a context, by reducer
ClsRow, LastRow   ... of the CLS token of the encoder, of the last prompt token in the language model
MeanReceived, FullMap   ... what each visual token receives in the encoder, the whole map of a layer
capture_dataset   both rows for every sample, into a Zarr store that survives a kill
open_dump         such a store as an xarray.Dataset
"""

from __future__ import annotations

from .dataset import capture_dataset as capture_dataset
from .dump import open_dump as open_dump
from .record import Log as Log
from .record import record as record
from .reducers import AbstractReducer as AbstractReducer
from .reducers import ClsRow as ClsRow
from .reducers import FullMap as FullMap
from .reducers import LastRow as LastRow
from .reducers import MeanReceived as MeanReceived
