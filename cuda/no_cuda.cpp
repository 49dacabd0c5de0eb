// A build without CUDA: asking for the GPU says so in one line.
#include "core/backend.h"

namespace steelyard {

Backend& gpu() { fail(Fault::usage, "device: this Steelyard was built without CUDA; expected \"cpu\""); }

}  // namespace steelyard
