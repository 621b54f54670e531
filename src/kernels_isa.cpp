// The kernels for one instruction set: compiled once for each, with its flags and its name in
// RADAR_POSE_ISA.

#include "bidirectional_conv.hpp"
#include "deformable.hpp"
#include "epipolar.hpp"
#include "kernels.h"
#include "selective_scan.hpp"
#include "state_space_duality.hpp"

#define KERNELS_OF_(isa) radar_pose_kernels_##isa
#define KERNELS_OF(isa) KERNELS_OF_(isa)

extern const Kernels KERNELS_OF(RADAR_POSE_ISA);
const Kernels KERNELS_OF(RADAR_POSE_ISA) = {scan_checkpoints, scan_forward, scan_backward,
                                            conv_forward, conv_backward,
                                            deform_forward, sample_forward, sample_backward,
                                            line_maxima, ssd_forward};
