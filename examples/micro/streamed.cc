// Runs a network in two files in TFLite Micro: one for strips of the image, and one for the rest.
//
// Before: attokit export NAME --streamed --output model.tflite
// writes sources of model_strip and model_rest, and model_strips.h. Compile them with this file and TFLite Micro.
//
// Both interpreters share one arena: what each must keep lies behind the other's, and their activations lie in
// the same bytes. The files say where, and so that no strip touches the map, which is the second's input.

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "model_rest.h"
#include "model_rest_ops.h"
#include "model_strip.h"
#include "model_strip_ops.h"
#include "model_strips.h"
#include "tensorflow/lite/micro/micro_allocator.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_log.h"
#include "tensorflow/lite/schema/schema_generated.h"

namespace {

alignas(16) std::uint8_t arena[model_strips::arena_bytes];

// Fills rows of the image as a camera gives them, each byte - 128; those outside of it hold the padding.
void read_rows(int first, std::int8_t* pixels) {
  constexpr std::size_t channels = sizeof(model_strips::padding) / sizeof(int);
  const std::size_t count = model_strips::strip_rows * model_strips::image_row_bytes;
  for (std::size_t i = 0; i < count; ++i) {
    pixels[i] = static_cast<std::int8_t>(model_strips::padding[i % channels]);
  }
  static_cast<void>(first);  // of a camera: copy the rows from here on that there are
}

}  // namespace

int main() {
  model_strip::Resolver strip_resolver;
  model_rest::Resolver rest_resolver;
  if (model_strip::register_operators(strip_resolver) != kTfLiteOk) return 1;
  if (model_rest::register_operators(rest_resolver) != kTfLiteOk) return 1;
  tflite::MicroAllocator* allocator =
      tflite::MicroAllocator::Create(arena, model_strips::arena_bytes);
  tflite::MicroInterpreter strip(tflite::GetModel(model_strip::data), strip_resolver, allocator);
  tflite::MicroInterpreter rest(tflite::GetModel(model_rest::data), rest_resolver, allocator);
  if (strip.AllocateTensors() != kTfLiteOk || rest.AllocateTensors() != kTfLiteOk) {
    MicroPrintf("the arena of %d bytes is too small", static_cast<int>(model_strips::arena_bytes));
    return 1;
  }
  std::int8_t* map = rest.input(0)->data.int8;
  for (const model_strips::Call& call : model_strips::calls) {
    read_rows(call.first, strip.input(0)->data.int8);
    if (strip.Invoke() != kTfLiteOk) return 1;
    std::memcpy(map + call.row * model_strips::map_row_bytes, strip.output(0)->data.int8,
                model_strips::rows * model_strips::map_row_bytes);
  }
  if (rest.Invoke() != kTfLiteOk) return 1;
  const std::int8_t* first = rest.output(0)->data.int8;
  MicroPrintf("largest of %d outputs: %d", static_cast<int>(model_rest::outputs[0].bytes),
              static_cast<int>(*std::max_element(first, first + model_rest::outputs[0].bytes)));
  return 0;
}
