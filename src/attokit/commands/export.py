"""`attokit export`."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Annotated, Any

import tyro
from rich.console import Console

from attokit import export, quant
from attokit.app_files import app_file
from attokit.datasets import load_dataset
from attokit.export import InterfaceType
from attokit.export.lowerings.context import Target
from attokit.exported_files import (
    label,
    tell_places,
    write_file,
    write_sources,
    write_strips_header,
)
from attokit.origins import Origin, open_origin, own_file
from attokit.precision import Precision
from attokit.tasks import view_of
from attokit.train import FindConfig, Source

Share = float  # a field of the options is called float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Writes a .tflite file.

    Attributes:
      target: A run folder; or the name of pretrained weights, which are calibrated on --data; or of
        a model, which gets random weights: good for measuring size and speed, for nothing else.
      output: The file; model.tflite in the run folder (model_argmax.tflite with output=argmax), or
        NAME.tflite, if left out.
      chip: What is to run it (--target): android (LiteRT), micro (TFLite Micro; writes C sources beside the
        file) or coral (the Edge TPU: grouped convolutions, padding and shuffles in forms that it has; same
        integers). The last two are model_micro.tflite and model_coral.tflite unless --output is given.
      mediapipe: A file that MediaPipe Tasks opens as it is, as an image classifier, segmenter or object
        detector: it takes the camera's bytes, ends in probabilities or boxes, and carries its labels.
      calibrate_scores: With --mediapipe, the split of the data ("test") by which a classifier's scores become shares of
        right answers, in the app: a split that the network was not trained on.
      postprocess: A detector's file chooses boxes itself and ends in TFLite_Detection_PostProcess: "boxes" (top,
        left, bottom, right, in shares of the image), "classes" (0 is the first that is no background), "scores" and
        "count". Without, it gives offsets and logits, and tells its anchors as metadata.
      score: With --postprocess, the probability that a box needs.
      overlap: Likewise, of two boxes of one class that overlap more (IoU), the better stays.
      most: Likewise, boxes at most.
      float: A float32 file instead of INT8.
      input_type: What the file takes: int8 (byte - 128), uint8 (the camera's bytes) or float32
        (byte / 255).
      output_type: Likewise for what it gives.
      streamed: Two files for TFLite Micro instead of one, NAME_strip.tflite for strips of the image and
        NAME_rest.tflite, with the plan of the host's loop in NAME_strips.json (NAME_strips.h) and their C sources;
        see docs/rnnpool.md.
      split: Three INT8 files of a two-stage detector instead of one, NAME_trunk.tflite, NAME_boxes.tflite and
        NAME_masks.tflite, between which the host chooses boxes; see docs/mask_rcnn.md.
      rows: Of the map between those two, that one strip makes.
      fit_memory: Orders and splits the operators so that TFLite Micro needs the least memory; same integers.
      strip_names: Leaves out the names of tensors: a smaller file, which `verify` cannot read.
      bare: The smallest file, for TFLite Micro alone (--target micro, --streamed, --fit-memory): what its
        runtime can do without is left out. LiteRT and `verify` do not read it.
      data: To calibrate pretrained weights on; what they were trained on if left out and they say.
      int16: Patterns of names of ops whose activations have 16 bits ('*', 'head/*'); of pretrained
        weights and models. A run has what attokit quantize was given.
      int8: Patterns of those among them that keep 8.
      float32: Patterns of names of ops that stay float32, and of inputs ('softmax').
      open_hard_swish: Patterns of names of hard swishes that become simpler ops; as int16.
      overrides: Fields of the model's config. Of a run only such as choose how the trained network
        ends: output=argmax (class ids) or output=quarter (small logits) of segmentation models.
    """

    target: tyro.conf.Positional[str]
    output: pathlib.Path | None = None
    chip: Annotated[Target, tyro.conf.arg(name="target")] = "android"
    mediapipe: bool = False
    calibrate_scores: str | None = None
    postprocess: bool = False
    score: Share = 0.3
    overlap: Share = 0.45
    most: int = 100
    float: bool = False
    input_type: InterfaceType | None = None
    output_type: InterfaceType | None = None
    streamed: bool = False
    split: bool = False
    rows: int = 1
    fit_memory: bool = False
    strip_names: bool = False
    bare: bool = False
    data: str | None = None
    overrides: tuple[str, ...] = ()
    int16: tuple[str, ...] = ()
    int8: tuple[str, ...] = ()
    float32: tuple[str, ...] = ()
    open_hard_swish: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuses what would change nothing."""
        if self.rows != 1 and not self.streamed:
            raise ValueError(f"rows {self.rows} changes nothing of one file: add --streamed")
        if self.calibrate_scores is not None and not self.mediapipe:
            raise ValueError("--calibrate-scores is for apps that read it: add --mediapipe")
        rules = (self.score, self.overlap, self.most)
        if not self.postprocess and rules != (Options.score, Options.overlap, Options.most):
            raise ValueError(
                "--score, --overlap and --most change nothing of offsets and logits: add --postprocess"
            )
        if self.postprocess and (self.mediapipe or self.split or self.output_type is not None):
            raise ValueError(
                "--postprocess ends one detector's file in boxes, as floats: leave --mediapipe (which has it), --split "
                "and --output-type out"
            )
        if self.split and (self.streamed or self.fit_memory or self.output_type is not None):
            raise ValueError(
                "--split writes three files, whose outputs its host reads: leave --streamed, --fit-memory and "
                "--output-type out"
            )
        if self.fit_memory and self.streamed:
            raise ValueError(
                "--fit-memory changes nothing: the second of --streamed's files has it already; leave it out"
            )
        several = self.streamed or self.split
        if self.float and several:
            raise ValueError(
                f"--{'streamed' if self.streamed else 'split'} writes INT8 files: leave --float out"
            )
        if self.bare and (
            self.mediapipe or self.split or not (self.streamed or self.target_runtime == "micro")
        ):
            raise ValueError(
                "--bare leaves out what only TFLite Micro can do without: add --target micro, --streamed or "
                "--fit-memory, and leave --mediapipe and --split out"
            )
        if self.mediapipe and (self.input_type or self.output_type or several):
            raise ValueError(
                "--mediapipe says what goes in and out of one file: leave --input-type, --output-type, "
                "--streamed and --split out"
            )
        if self.chip != "android" and several and not (self.split and self.chip == "coral"):
            raise ValueError(
                f"--target {self.chip} changes nothing of several files: leave it, --streamed or --split out"
            )
        if self.chip == "coral" and (self.fit_memory or self.float):
            raise ValueError(
                "--target coral writes an INT8 file for the Edge TPU, which plans its own memory: leave "
                "--fit-memory and --float out"
            )

    def post_process(self, origin: Origin) -> Mapping[str, Any]:
        """Returns arguments of `export.to_tflite` with which a file chooses boxes; empty if none is to.

        Raises:
          ValueError: if the network gives no boxes of anchors.
        """
        if not self.postprocess:
            return {}
        make = view_of(origin.task).post_process
        if make is None:
            raise ValueError(
                f"--postprocess chooses boxes of anchors, and this is {origin.task}: leave it out"
            )
        rules = FindConfig(
            score_threshold=self.score,
            iou_threshold=self.overlap,
            most=self.most,
            candidates=max(self.most, FindConfig.candidates),
        )
        return make(origin.network, origin.image_shape, rules)

    @property
    def target_runtime(self) -> Target:
        """What is to run one file."""
        return "micro" if self.fit_memory else self.chip


def run(options: Options, console: Console) -> None:
    """Runs the command."""
    origin = open_origin(
        options.target,
        as_float=options.float,
        data=options.data,
        overrides=options.overrides,
        precision=Precision(
            int16=options.int16,
            int8=options.int8,
            float32=options.float32,
            open_hard_swish=options.open_hard_swish,
        ),
    )
    if origin.random:
        console.print(f"{options.target} has random weights: for measuring only", style="yellow")
    output = options.output or own_file(
        options.target, as_float=options.float, overrides=options.overrides, chip=options.chip
    )
    metadata = view_of(origin.task).file_metadata(origin.network, origin.image_shape)
    if options.streamed:
        _write_streamed(options, origin, output, metadata, console)
    elif options.split:
        _write_split(options, origin, output, metadata, console)
    else:
        file = _file(options, origin, metadata)
        write_file(output, file, console)
        if options.chip == "coral":
            tell_places(file, console)
        elif options.chip == "micro":
            write_sources(output, file, console)
    if origin.class_names is not None:
        label(output.with_name("labels.txt"), origin.class_names, console)


def _file(options: Options, origin: Origin, metadata: Mapping[str, str]) -> bytes:
    """Returns the one file that is asked for."""
    if options.fit_memory:
        origin = dataclasses.replace(origin, graph=quant.fit_memory(origin.graph))
    target, names = options.target_runtime, not options.strip_names
    if options.mediapipe:
        return app_file(
            origin,
            type(origin.network).__name__,
            target=target,
            held_out=_held_out(options, origin),
            metadata=metadata,
            names=names,
        )
    return export.to_tflite(
        origin.graph,
        origin.weights,
        origin.qparams,
        input_type=options.input_type,
        output_type=options.output_type,
        target=target,
        metadata=metadata,
        names=names,
        bare=options.bare,
        placed=0 if options.fit_memory else None,
        **options.post_process(origin),
    )


def _held_out(options: Options, origin: Origin) -> Source | None:
    """Returns the images by which scores are calibrated, or None."""
    if options.calibrate_scores is None:
        return None
    if origin.data is None:
        raise ValueError(
            f"{options.target} does not say what it was trained on: give --data to --calibrate-scores"
        )
    dataset = load_dataset(origin.data, origin.image_shape, task=origin.task)
    return dataset.split(options.calibrate_scores)


def _write_streamed(
    options: Options,
    origin: Origin,
    output: pathlib.Path,
    metadata: Mapping[str, str],
    console: Console,
) -> None:
    """Writes both files and the plan."""
    assert origin.qparams is not None  # `Options` refuses --float
    files = export.to_streamed_tflite(
        origin.graph,
        origin.weights,
        origin.qparams,
        rows=options.rows,
        input_type=options.input_type,
        output_type=options.output_type,
        metadata=metadata,
        names=not options.strip_names,
        bare=options.bare,
        **options.post_process(origin),
    )
    paths = _write_parts(options, output, {"strip": files.strip, "rest": files.rest}, console)
    plan = output.with_name(f"{output.stem}_strips.json")
    export.write(plan, files.schedule.encode())
    console.print(
        f"wrote {plan}: {len(files.plan.calls)} strips of {files.plan.strip_rows} rows",
        highlight=False,
        soft_wrap=True,
    )
    for path in paths:
        write_sources(path, path.read_bytes(), console)
    write_strips_header(output, files, paths, console)


def _write_split(
    options: Options,
    origin: Origin,
    output: pathlib.Path,
    metadata: Mapping[str, str],
    console: Console,
) -> None:
    """Writes the three files of a two-stage detector."""
    assert origin.qparams is not None  # `Options` refuses --float
    files = export.to_split_tflite(
        origin.graph,
        origin.weights,
        origin.qparams,
        input_type=options.input_type,
        target=options.chip,
        metadata=metadata,
        names=not options.strip_names,
    )
    parts = {"trunk": files.trunk, "boxes": files.box_head, "masks": files.mask_head}
    _write_parts(options, output, parts, console)


def _write_parts(
    options: Options, output: pathlib.Path, parts: Mapping[str, bytes], console: Console
) -> list[pathlib.Path]:
    """Writes files that belong together beside each other, and returns their paths."""
    paths = [output.with_name(f"{output.stem}_{part}.tflite") for part in parts]
    for path, file in zip(paths, parts.values(), strict=True):
        write_file(path, file, console)
        if options.chip == "coral":
            tell_places(file, console)
    return paths
