"""Batches by step number, read ahead by Grain.

Batch `step` is a pure function of (source, seed, step): example number `step * batch_size + row`
of an endless row of shuffled epochs. Every epoch holds each example exactly once and no example
is dropped where an epoch ends inside a batch. Position = step, so that a run resumes exactly,
also on another number of hosts; every host reads only its own rows of the global batch.
"""

import contextlib
import signal
import traceback

import grain
import numpy as np
from absl import flags

from attokit.train.augment import AugmentConfig, augment_batch, draw_augmentation
from attokit.train.dataset import Batch, Source

# Streams of the generator: one for the order of examples, one for augmentation.
_ORDER, _AUGMENT = 0, 1


class TrainBatches:
    """A Grain source whose element `step` is the training batch of that step."""

    def __init__(
        self,
        source: Source,
        *,
        batch_size: int,
        steps: int,
        seed: int,
        augment: AugmentConfig | None = None,
        process_index: int = 0,
        process_count: int = 1,
    ):
        if batch_size < 1 or batch_size % process_count:
            raise ValueError(
                f"batch size {batch_size} does not divide by {process_count} hosts: "
                "choose a multiple"
            )
        self._source = source
        self._batch_size = batch_size
        self._steps = steps
        self._seed = seed
        self._augment = augment
        local = batch_size // process_count
        self._rows = slice(process_index * local, (process_index + 1) * local)
        self._orders: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        """Returns the number of steps of the run."""
        return self._steps

    def _order(self, epoch: int) -> np.ndarray:
        """Returns the shuffled indices of one epoch; the last two epochs are kept."""
        order = self._orders.get(epoch)
        if order is None:
            order = np.random.default_rng((self._seed, _ORDER, epoch)).permutation(
                len(self._source)
            )
            # Reader threads share this cache: replacing the dict whole needs no lock.
            self._orders = {e: o for e, o in self._orders.items() if e >= epoch - 1} | {
                epoch: order
            }
        return order

    def indices(self, step: int) -> np.ndarray:
        """Returns the example indices of the global batch of `step`."""
        size, start = len(self._source), step * self._batch_size
        positions = np.arange(start, start + self._batch_size)
        epochs = positions // size
        return np.concatenate(
            [self._order(int(e))[positions[epochs == e] % size] for e in np.unique(epochs)]
        )

    def __getitem__(self, step: int) -> Batch:
        """Returns this host's rows of the batch of `step`, augmented."""
        batch = self._source.read(self.indices(int(step))[self._rows])
        if self._augment is None:
            return batch
        rng = np.random.default_rng((self._seed, _AUGMENT, int(step)))
        draw = draw_augmentation(self._augment, rng, self._batch_size).rows(self._rows)
        return augment_batch(self._augment, draw, batch)


class EvalBatches:
    """A Grain source of the batches of one pass over a split, in order.

    All batches have one shape: the last is filled up with repeated examples. `mask` (float32)
    is 1 for an example and 0 for filling, so every example counts exactly once.
    """

    def __init__(
        self, source: Source, *, batch_size: int, process_index: int = 0, process_count: int = 1
    ):
        if batch_size < 1 or batch_size % process_count:
            raise ValueError(
                f"batch size {batch_size} does not divide by {process_count} hosts: "
                "choose a multiple"
            )
        self._source = source
        self._batch_size = batch_size
        local = batch_size // process_count
        self._rows = slice(process_index * local, (process_index + 1) * local)

    def __len__(self) -> int:
        """Returns the number of batches of one pass."""
        return -(-len(self._source) // self._batch_size)

    def __getitem__(self, index: int) -> Batch:
        """Returns this host's rows of batch number `index`, with `mask`."""
        positions = np.arange(self._batch_size)[self._rows] + int(index) * self._batch_size
        mask = positions < len(self._source)
        return self._source.read(np.where(mask, positions, 0)) | {"mask": mask.astype(np.float32)}


def _leave_signals_to_the_run(worker: int, workers: int) -> None:
    """Ignores Ctrl-C and SIGTERM, which go to every process of a group: the run reads on until it has saved."""
    del worker, workers
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def iterate(
    batches: TrainBatches | EvalBatches,
    *,
    start: int = 0,
    threads: int = 2,
    ahead: int = 4,
    workers: int = 0,
) -> grain.DatasetIterator:
    """Returns a Grain iterator over batches, which are read ahead; close it where it has workers.

    Args:
      batches: What to iterate over.
      start: The first of them: the step at which a run goes on.
      threads: That read, in this process or in each worker.
      ahead: Batches that may wait.
      workers: Processes that read instead of this one: decoding and augmentation in Python hold its lock.
        They give the same batches in the same order.
    """
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead)
    dataset = grain.MapDataset.source(batches)[start:].to_iter_dataset(options)
    if workers:
        if not flags.FLAGS.is_parsed():  # Grain asks its own, which only an absl program parses
            flags.FLAGS.mark_as_parsed()
        shared = grain.MultiprocessingOptions(workers, ahead)
        dataset = dataset.mp_prefetch(shared, worker_init_fn=_leave_signals_to_the_run)
    return iter(dataset)


def let_go(error: BaseException) -> None:
    """Lets go of the batches that were read ahead when reading failed, which the frames of the error hold.

    Workers hand batches over in shared memory, which is given back with the last that holds one. Grain hides
    its own frames from a traceback; those that it shows still lead to them.
    """
    for shown, _ in traceback.walk_tb(error.__traceback__):
        for frame, _ in traceback.walk_stack(shown):
            with contextlib.suppress(RuntimeError):  # of a frame that still runs
                frame.clear()
