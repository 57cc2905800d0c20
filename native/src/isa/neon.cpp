#include "../simd/neon.hpp"

#define UNROLLED_ISA_NAME neon
#include "../kernels/table.hpp"
