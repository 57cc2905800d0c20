#include "../simd/plain.hpp"

#define UNROLLED_ISA_NAME plain
#include "../kernels/table.hpp"
