// The C interface: chooses the kernels for the processor that it runs on.

#include "kernels.h"

#include <cstring>

extern const Kernels radar_pose_kernels_plain;
#ifdef RADAR_POSE_X86
extern const Kernels radar_pose_kernels_avx2;
extern const Kernels radar_pose_kernels_avx512;
#endif

namespace {

struct InstructionSet {
  const char* name;
  const Kernels* kernels;
  bool supported;
};

// The first one that the processor has is used, unless radar_pose_use() says otherwise.
const InstructionSet* find(const char* name) {
#ifdef RADAR_POSE_X86
  __builtin_cpu_init();
  const bool fma = __builtin_cpu_supports("fma");
#endif
  static const InstructionSet sets[] = {
#ifdef RADAR_POSE_X86
      {"AVX-512", &radar_pose_kernels_avx512,
       fma && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")},
      {"AVX2", &radar_pose_kernels_avx2, fma && __builtin_cpu_supports("avx2")},
#endif
      {"plain", &radar_pose_kernels_plain, true},
  };
  for (const InstructionSet& set : sets)
    if (set.supported && (!name || !std::strcmp(name, set.name))) return &set;
  return nullptr;
}

const InstructionSet* chosen = find(nullptr);

const Kernels& kernels() { return *chosen->kernels; }

}  // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))

// Changes whenever a structure or a meaning in kernels.h does.
EXPORT int64_t radar_pose_kernels_version() { return 1; }

EXPORT const char* radar_pose_instruction_set() { return chosen->name; }

// Changes to another instruction set, for tests: returns 0 if the processor does not have it.
EXPORT int64_t radar_pose_use(const char* name) {
  const InstructionSet* set = find(name);
  if (set) chosen = set;
  return set != nullptr;
}

// The number of floats that the gradient of a scan keeps.
EXPORT int64_t radar_pose_scan_checkpoints(const ScanArguments* arguments) {
  return kernels().scan_checkpoints(*arguments);
}
EXPORT void radar_pose_scan_forward(const ScanArguments* arguments) {
  kernels().scan_forward(*arguments);
}
EXPORT void radar_pose_scan_backward(const ScanArguments* arguments) {
  kernels().scan_backward(*arguments);
}
EXPORT void radar_pose_conv_forward(const ConvArguments* arguments) {
  kernels().conv_forward(*arguments);
}
EXPORT void radar_pose_conv_backward(const ConvArguments* arguments) {
  kernels().conv_backward(*arguments);
}
EXPORT void radar_pose_deform_forward(const SampleArguments* arguments) {
  kernels().deform_forward(*arguments);
}
EXPORT void radar_pose_sample_forward(const SampleArguments* arguments) {
  kernels().sample_forward(*arguments);
}
EXPORT void radar_pose_sample_backward(const SampleArguments* arguments) {
  kernels().sample_backward(*arguments);
}
EXPORT void radar_pose_line_maxima(const LineArguments* arguments) {
  kernels().line_maxima(*arguments);
}
EXPORT void radar_pose_ssd_forward(const SsdArguments* arguments) {
  kernels().ssd_forward(*arguments);
}
