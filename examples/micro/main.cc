// Runs a model once in TFLite Micro.
//
// Before: attokit export RUN --target micro --output model.tflite
// writes model.h, model.cc and model_ops.h. Compile them with this file and TFLite Micro.

#include <cstdint>
#include <cstring>

#include "model.h"
#include "model_ops.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_log.h"
#include "tensorflow/lite/schema/schema_generated.h"

namespace {

alignas(16) std::uint8_t arena[model::arena_bytes];

// Fills one image. A camera's byte is stored as byte - 128: the input's scale is 1 / 255.
void read_image(std::int8_t* pixels, std::size_t count) { std::memset(pixels, 0, count); }

}  // namespace

int main() {
  model::Resolver resolver;
  if (model::register_operators(resolver) != kTfLiteOk) return 1;
  tflite::MicroInterpreter interpreter(tflite::GetModel(model::data), resolver, arena,
                                       model::arena_bytes);
  if (interpreter.AllocateTensors() != kTfLiteOk) {
    MicroPrintf("the arena of %d bytes is too small", static_cast<int>(model::arena_bytes));
    return 1;
  }
  read_image(interpreter.input(0)->data.int8, model::inputs[0].bytes);
  if (interpreter.Invoke() != kTfLiteOk) return 1;

  const std::int8_t* scores = interpreter.output(0)->data.int8;
  std::size_t best = 0;
  for (std::size_t i = 1; i < model::outputs[0].bytes; ++i) {
    if (scores[i] > scores[best]) best = i;
  }
  MicroPrintf("class %d", static_cast<int>(best));
  return 0;
}
