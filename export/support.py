"""Which runtimes and compilers take which operator, in which version.

Sources: first runtimes from LiteRT's `runtime_version.cc`; TFLite Micro's Python wheel of 2026-10,
Vela 5.2's list for Ethos-U55 and the XNNPACK delegate of LiteRT 2.3 (x86-64), as tried; the Edge TPU's
published list of operators.
"""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

_BOOL, _INT32 = frozenset({"bool"}), frozenset({"int32"})
EDGE_TPU_RUNTIME = (2, 5)  # its last compiler parses operator versions up to about this one


@dataclasses.dataclass(frozen=True, kw_only=True)
class Support:
    """What is known of an operator.

    Attributes:
      runtimes: First runtime of each version in use, "major.minor".
      micro: TFLite Micro has a kernel for int8 (or for what else the operator takes).
      micro_float: It has one for float32.
      micro_lacks: Whole numbers and conditions that its kernel does not take, though LiteRT's does.
      xnnpack: LiteRT's default delegate takes it as int8; otherwise the built-in kernel runs.
      vela: In the list for Ethos-U55.
      edge_tpu: In the Edge TPU's list.
    """

    runtimes: Mapping[int, str]
    micro: bool = True
    micro_float: bool = True
    micro_lacks: frozenset[str] = frozenset()
    xnnpack: bool = False
    vela: bool = False
    edge_tpu: bool = False

    def edge_tpu_takes(self, version: int) -> bool:
        """Whether the Edge TPU has the operator and its compiler parses the version."""
        runtime = tuple(int(part) for part in self.runtimes[version].split("."))
        return self.edge_tpu and runtime <= EDGE_TPU_RUNTIME

    def micro_takes(self, dtype: str) -> bool:
        """Whether TFLite Micro has a kernel that makes this type."""
        return self.micro_float if dtype == "float32" else self.micro


SUPPORT: Mapping[str, Support] = MappingProxyType(
    {
        "ABS": Support(runtimes={2: "2.4", 3: "2.5"}, vela=True),
        "ADD": Support(
            runtimes={1: "1.5", 2: "1.14", 3: "2.4"}, xnnpack=True, vela=True, edge_tpu=True
        ),
        "ARG_MAX": Support(runtimes={2: "1.14"}, vela=True),
        "ARG_MIN": Support(runtimes={2: "1.14"}),
        "AVERAGE_POOL_2D": Support(
            runtimes={1: "1.5", 2: "1.14", 3: "2.3"}, vela=True, edge_tpu=True
        ),
        "BATCH_MATMUL": Support(runtimes={2: "2.3", 3: "2.4"}, xnnpack=True, vela=True),
        "BROADCAST_TO": Support(runtimes={2: "2.5", 3: "2.5"}),
        "CAST": Support(runtimes={1: "1.5", 3: "2.8"}),
        "CONCATENATION": Support(
            runtimes={1: "1.5", 2: "1.14", 3: "2.3"}, xnnpack=True, vela=True, edge_tpu=True
        ),
        "CONV_2D": Support(
            runtimes={3: "1.14", 4: "2.3", 6: "2.9", 7: "2.11", 8: "2.15"},
            xnnpack=True,
            vela=True,
            edge_tpu=True,
        ),
        "DEPTHWISE_CONV_2D": Support(
            runtimes={3: "1.14", 5: "2.3", 7: "2.11"}, xnnpack=True, vela=True, edge_tpu=True
        ),
        "DEPTH_TO_SPACE": Support(runtimes={1: "2.1", 2: "2.5"}, micro_lacks=_INT32, xnnpack=True),
        "DEQUANTIZE": Support(runtimes={2: "1.14", 3: "1.15"}, xnnpack=True),
        "EQUAL": Support(runtimes={1: "1.14", 2: "1.14"}),
        "EXP": Support(runtimes={1: "1.7", 2: "2.12"}, micro=False, vela=True),
        "FLOOR": Support(runtimes={1: "1.9"}),
        "FLOOR_DIV": Support(runtimes={1: "1.13"}),
        "FULLY_CONNECTED": Support(
            runtimes={4: "1.14", 5: "2.0", 6: "2.1", 7: "2.3", 10: "2.11", 11: "2.15"},
            xnnpack=True,
            vela=True,
            edge_tpu=True,
        ),
        "GATHER": Support(
            runtimes={1: "1.6", 2: "1.14", 4: "2.4", 5: "2.5", 6: "2.13"},
            micro_lacks=_BOOL | _INT32,
        ),
        "GELU": Support(runtimes={2: "2.9"}, micro=False, micro_float=False, vela=True),
        "GREATER": Support(runtimes={1: "1.14", 2: "1.14"}),
        "GREATER_EQUAL": Support(runtimes={1: "1.14", 2: "1.14"}),
        "HARD_SWISH": Support(runtimes={1: "1.15"}, vela=True),
        "L2_NORMALIZATION": Support(runtimes={2: "1.14"}, edge_tpu=True),
        "LEAKY_RELU": Support(runtimes={1: "1.13", 2: "2.3"}, xnnpack=True, vela=True),
        "LESS": Support(runtimes={1: "1.14", 2: "1.14"}),
        "LESS_EQUAL": Support(runtimes={2: "1.14"}),
        "LOG": Support(runtimes={2: "2.15"}, micro=False, vela=True),
        "LOGICAL_AND": Support(runtimes={1: "1.11"}),
        "LOGICAL_NOT": Support(runtimes={1: "1.11"}),
        "LOGICAL_OR": Support(runtimes={1: "1.11"}),
        "LOGISTIC": Support(runtimes={2: "1.14", 3: "2.3"}, xnnpack=True, vela=True, edge_tpu=True),
        "LOG_SOFTMAX": Support(runtimes={2: "1.14"}),
        "MAXIMUM": Support(
            runtimes={1: "1.14", 2: "1.14", 3: "2.3", 4: "2.3"}, vela=True, edge_tpu=True
        ),
        "MAX_POOL_2D": Support(
            runtimes={2: "1.14", 3: "2.3"}, xnnpack=True, vela=True, edge_tpu=True
        ),
        "MEAN": Support(runtimes={2: "1.14", 3: "2.4"}, xnnpack=True, vela=True, edge_tpu=True),
        "MINIMUM": Support(
            runtimes={1: "1.14", 2: "1.14", 3: "2.3", 4: "2.3"}, vela=True, edge_tpu=True
        ),
        "MIRROR_PAD": Support(
            runtimes={2: "2.3", 3: "2.12"}, micro_lacks=_BOOL | _INT32, vela=True
        ),
        "MUL": Support(
            runtimes={1: "1.5", 2: "1.14", 3: "1.15", 4: "2.3"},
            xnnpack=True,
            vela=True,
            edge_tpu=True,
        ),
        "NON_MAX_SUPPRESSION_V4": Support(runtimes={1: "2.1"}, micro=False, micro_float=False),
        "NOT_EQUAL": Support(runtimes={2: "1.14"}),
        "PACK": Support(runtimes={2: "1.14", 3: "2.3"}, vela=True, edge_tpu=True),
        "PAD": Support(
            runtimes={2: "1.14", 3: "2.4", 4: "2.6"},
            micro_lacks=_BOOL,
            xnnpack=True,
            vela=True,
            edge_tpu=True,
        ),
        "PADV2": Support(runtimes={2: "1.14", 3: "2.4", 4: "2.6"}, micro_lacks=_BOOL, vela=True),
        "PRELU": Support(runtimes={1: "1.8"}, vela=True, edge_tpu=True),
        "QUANTIZE": Support(
            runtimes={1: "1.14", 2: "1.15"}, xnnpack=True, vela=True, edge_tpu=True
        ),
        "REDUCE_ALL": Support(runtimes={1: "2.6"}),
        "REDUCE_MAX": Support(
            runtimes={2: "1.14", 3: "2.5"}, xnnpack=True, vela=True, edge_tpu=True
        ),
        "REDUCE_MIN": Support(
            runtimes={1: "1.11", 2: "1.14", 3: "2.5"}, xnnpack=True, vela=True, edge_tpu=True
        ),
        "RELU": Support(runtimes={2: "2.1", 3: "2.5"}, vela=True, edge_tpu=True),
        "RELU6": Support(runtimes={2: "1.14", 3: "2.5"}, vela=True, edge_tpu=True),
        "RELU_N1_TO_1": Support(
            runtimes={1: "1.5"}, micro=False, micro_float=False, vela=True, edge_tpu=True
        ),
        "RESHAPE": Support(runtimes={1: "1.5"}, xnnpack=True, vela=True, edge_tpu=True),
        "RESIZE_BILINEAR": Support(
            runtimes={2: "1.14", 3: "2.2", 4: "2.5"}, xnnpack=True, vela=True, edge_tpu=True
        ),
        "RESIZE_NEAREST_NEIGHBOR": Support(
            runtimes={2: "1.14", 3: "2.3", 4: "2.4"},
            micro_lacks=_BOOL | _INT32,
            vela=True,
            edge_tpu=True,
        ),
        "REVERSE_V2": Support(runtimes={3: "2.5"}, vela=True),
        "RSQRT": Support(runtimes={2: "2.5", 3: "2.15"}, vela=True, edge_tpu=True),
        "SELECT_V2": Support(runtimes={1: "2.2"}, micro_lacks=_BOOL | _INT32),
        "SLICE": Support(
            runtimes={1: "1.14", 2: "1.14", 4: "2.4", 5: "2.5"},
            xnnpack=True,
            vela=True,
            edge_tpu=True,
        ),
        "SOFTMAX": Support(runtimes={1: "1.5", 2: "1.14", 3: "2.3"}, vela=True, edge_tpu=True),
        "SPACE_TO_DEPTH": Support(
            runtimes={2: "1.14"}, micro_lacks=_INT32, xnnpack=True, edge_tpu=True
        ),
        "SPLIT": Support(
            runtimes={1: "1.5", 2: "1.14", 4: "2.3"}, xnnpack=True, vela=True, edge_tpu=True
        ),
        "SPLIT_V": Support(runtimes={1: "1.13", 2: "2.3"}, vela=True),
        "SQUARED_DIFFERENCE": Support(runtimes={2: "2.5"}, vela=True, edge_tpu=True),
        "STRIDED_SLICE": Support(
            runtimes={2: "1.14", 4: "2.2", 6: "2.6"}, xnnpack=True, vela=True, edge_tpu=True
        ),
        "SUB": Support(
            runtimes={1: "1.6", 2: "1.14", 3: "2.3", 5: "2.4"},
            xnnpack=True,
            vela=True,
            edge_tpu=True,
        ),
        "SUM": Support(runtimes={2: "1.15"}, xnnpack=True, vela=True, edge_tpu=True),
        "TANH": Support(runtimes={2: "1.14", 3: "2.3"}, xnnpack=True, vela=True, edge_tpu=True),
        "TOPK_V2": Support(runtimes={1: "1.7"}, micro=False, micro_float=False),
        "TRANSPOSE": Support(
            runtimes={2: "1.14", 4: "2.3", 5: "2.4", 6: "2.12"},
            micro_lacks=_BOOL | _INT32,
            xnnpack=True,
            vela=True,
            edge_tpu=True,
        ),
        "TRANSPOSE_CONV": Support(
            runtimes={2: "2.2", 3: "2.3", 4: "2.13", 5: "2.15"},
            xnnpack=True,
            vela=True,
            edge_tpu=True,
        ),
        "UNPACK": Support(runtimes={2: "1.14", 4: "2.3"}, vela=True),
    }
)
